"""Options of `docker run`: each does inside the container what it does with Docker, seen from inside and
outside.
"""

import os
import re
import stat
import time
from pathlib import Path

import pytest

from tests.api.conftest import Daemon
from tests.system.conftest import Docker, cgroup_file

STATUS = "while read line; do case $line in {}*) echo $line;; esac; done < /proc/self/status"


def capabilities(text: str) -> int:
    found = re.search(r"CapEff:\s+([0-9a-f]+)", text)
    assert found
    return int(found[1], 16)


def test_memory_kills_what_exceeds_it_and_says_so(docker: Docker) -> None:
    name = f"oom{os.getpid()}"
    script = "exec tail -c 200000000 /dev/zero"  # it keeps what it may have to print
    done = docker(
        "run", "--name", name, "--net", "none", "-m", "64m", docker.image, "sh", "-c", script, check=False
    )
    try:
        assert done.returncode == 137
        assert (
            docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", name).stdout == "true 137\n"
        )
    finally:
        docker("rm", "-f", name)


def test_a_program_below_its_memory_limit_lives(docker: Docker) -> None:
    assert docker.run("-m", "64m", script="s=$(yes | head -c 1000000); echo survived").stdout == "survived\n"


def test_pids_limit_stops_a_fork_bomb(docker: Docker) -> None:
    script = "i=0; while [ $i -lt 50 ]; do sleep 5 & i=$((i+1)); done 2>&1; echo all"
    done = docker.run("--pids-limit", "10", script=script, check=False)
    assert "fork" in done.stdout + done.stderr
    assert "fork" not in docker.run("--pids-limit", "100", script=script.replace("sleep 5", "true")).stderr


def test_cpus_are_read_back_and_hold(docker: Docker, system_daemon: Daemon) -> None:
    script = "while :; do :; done"
    identifier = docker(
        "run", "-d", "--net", "none", "--cpus", "0.5", docker.image, "sh", "-c", script
    ).stdout.strip()
    try:
        quota = cgroup_file(system_daemon, identifier, "cpu", "cpu.cfs_quota_us", "cpu.max")
        assert quota in ("50000", "50000 100000")

        def throttled() -> int:
            text = cgroup_file(system_daemon, identifier, "cpu", "cpu.stat", "cpu.stat")
            return int(dict(line.split() for line in text.splitlines())["nr_throttled"])

        before, began = throttled(), time.monotonic()
        while throttled() < before + 5:
            assert time.monotonic() < began + 60, "half a core was never throttled"
            time.sleep(0.05)
    finally:
        docker("rm", "-f", identifier)


def test_capabilities_are_dockers_fourteen(docker: Docker) -> None:
    script = STATUS.format("CapEff")
    assert capabilities(docker.run(script=script).stdout) == 0xA80425FB
    assert capabilities(docker.run("--cap-drop", "ALL", script=script).stdout) == 0
    assert (
        capabilities(docker.run("--cap-drop", "ALL", "--cap-add", "NET_ADMIN", script=script).stdout)
        == 1 << 12
    )
    assert capabilities(docker.run("-u", "1000", script=script).stdout) == 0


def test_an_unknown_capability_is_refused(docker: Docker) -> None:
    done = docker.run("--cap-add", "NONSENSE", check=False)
    assert done.returncode == 125
    assert "NONSENSE" in done.stderr


def test_privileged_has_the_hosts_rights_and_devices(docker: Docker) -> None:
    ours = capabilities(docker.run("--privileged", script=STATUS.format("CapEff")).stdout)
    host = capabilities(Path("/proc/self/status").read_text())
    assert ours == host
    assert (
        docker.run("--privileged", script="echo 1 > /proc/sys/net/ipv4/ip_forward && echo written").stdout
        == "written\n"
    )
    assert (
        docker.run(script="echo 1 > /proc/sys/net/ipv4/ip_forward && echo written", check=False).stdout == ""
    )


def test_read_only_root_with_writable_tmpfs(docker: Docker) -> None:
    done = docker.run(
        "--read-only", "--tmpfs", "/tmp", script="echo a > /tmp/a && echo ok; echo b > /b", check=False
    )
    assert done.stdout == "ok\n"
    assert "Read-only file system" in done.stderr


def test_tmpfs_options_are_the_kernels(docker: Docker) -> None:
    done = docker.run("--tmpfs", "/scratch:size=1m,mode=700", script="grep ' /scratch ' /proc/mounts")
    assert "size=1024k" in done.stdout
    assert "mode=700" in done.stdout
    assert docker.run("--tmpfs", "/scratch:nonsense=1", check=False).returncode == 125


def test_names_and_places(docker: Docker) -> None:
    script = "read name < /proc/sys/kernel/hostname; echo $name $PWD $A $(id -u):$(id -g)"
    done = docker.run("-h", "box", "-w", "/new/place", "-e", "A=b c", "-u", "12:34", script=script)
    assert done.stdout == "box /new/place b c 12:34\n"


def test_ulimits_and_sysctls(docker: Docker) -> None:
    assert docker.run("--ulimit", "nofile=123:456", script="ulimit -Sn; ulimit -Hn").stdout == "123\n456\n"
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax"
    assert docker.run("--sysctl", "kernel.msgmax=9999", script=script).stdout == "0\n9999\n"
    refused = docker.run("--sysctl", "kernel.core_pattern=x", check=False)
    assert refused.returncode == 125
    assert "kernel.core_pattern" in refused.stderr


def test_shm_size(docker: Docker) -> None:
    script = "grep ' /dev/shm ' /proc/mounts"
    assert "size=65536k" in docker.run(script=script).stdout
    assert "size=8192k" in docker.run("--shm-size", "8m", script=script).stdout


def test_devices_open_only_when_given(docker: Docker, tmp_path: Path) -> None:
    """The device has no driver (60 is for local use), so nothing but the cgroup can say EPERM."""
    thing = tmp_path / "thing"
    os.mknod(thing, stat.S_IFCHR | 0o666, os.makedev(60, 77))
    script = "(: > /dev/thing); (: < /dev/thing); true"

    def refusals(*words: str, script: str = script) -> list[str]:
        return [line.rpartition(": ")[2] for line in docker.run(*words, script=script).stderr.splitlines()]

    opened, refused = "No such device or address", "Operation not permitted"
    assert refusals("--device", f"{thing}:/dev/thing") == [opened, opened]
    assert refusals("--device", f"{thing}:/dev/thing:r") == [refused, opened]
    assert refusals(script="mknod /dev/thing c 60 77;" + script) == [refused, refused]


def test_no_new_privileges_and_seccomp(docker: Docker) -> None:
    script = STATUS.format("NoNewPrivs") + ";" + STATUS.format("Seccomp:")
    assert re.findall(r"\d", docker.run(script=script).stdout) == ["0", "2"]
    assert re.findall(r"\d", docker.run("--security-opt", "no-new-privileges", script=script).stdout) == [
        "1",
        "2",
    ]
    assert re.findall(r"\d", docker.run("--security-opt", "seccomp=unconfined", script=script).stdout) == [
        "0",
        "0",
    ]
    assert docker.run("--security-opt", "nonsense=1", check=False).returncode == 125


def test_init_reaps_and_takes_signals(docker: Docker) -> None:
    script = "read line < /proc/self/stat; set -- $line; echo $4"  # the parent's pid
    assert docker.run("--init", script=script).stdout == "1\n"
    name = f"init{os.getpid()}"
    docker("run", "-d", "--init", "--net", "none", "--name", name, docker.image, "sleep", "100")
    began = time.monotonic()
    docker("stop", "-t", "60", name)
    assert time.monotonic() - began < 60  # TERM reached sleep, which as pid 1 would have ignored it
    assert docker("inspect", "-f", "{{.State.ExitCode}}", name).stdout == "143\n"
    docker("rm", name)


def test_entrypoint_takes_the_commands_place(docker: Docker) -> None:
    done = docker("run", "--rm", "--net", "none", "--entrypoint", "echo", docker.image, "a", "b")
    assert done.stdout == "a b\n"


def test_stop_kills_what_ignores_it(docker: Docker) -> None:
    name = f"stubborn{os.getpid()}"
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    docker("run", "-d", "--net", "none", "--name", name, docker.image, "sh", "-c", script)
    while "ready" not in docker("logs", name).stdout:
        time.sleep(0.05)
    docker("stop", "-t", "1", name)
    assert docker("inspect", "-f", "{{.State.ExitCode}}", name).stdout == "137\n"
    docker("rm", name)


@pytest.mark.parametrize(("signal", "code"), [("HUP", 129), ("USR1", 138), ("15", 143), ("SIGKILL", 137)])
def test_kill_gives_128_and_the_signal(docker: Docker, signal: str, code: int) -> None:
    identifier = docker("run", "-d", "--init", "--net", "none", docker.image, "sleep", "100").stdout.strip()
    docker("kill", "-s", signal, identifier)
    assert docker("wait", identifier).stdout == f"{code}\n"
    docker("rm", identifier)


def test_the_program_starts_clean(docker: Docker) -> None:
    lines = docker.run(script="cat /proc/self/status; yes | head -1; umask; env").stdout
    assert re.search(r"SigIgn:\s+0+\n", lines)
    assert re.search(r"SigBlk:\s+0+\n", lines)
    assert "\ny\n" in lines
    assert "\n0022\n" in lines
    names = set(re.findall(r"^([A-Z_]+)=", lines.partition("0022")[2], re.MULTILINE))
    assert names <= {"PATH", "HOSTNAME", "HOME", "PWD", "SHLVL", "OLDPWD"}
