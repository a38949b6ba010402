"""minidock-runc: runc's verbs and their errors; with the real runc as judge, the same result for a bundle."""

import array
import json
import os
import pty
import select
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroups, process

PROBE = """
id; umask; hostname; pwd; echo $A; tty
grep -E '^(Cap|NoNew|Seccomp:|Sig[BI]|Groups)' /proc/self/status
ls /proc/self/fd; ls /dev; ulimit -Sn; ulimit -Hn
cut -d' ' -f5,6 /proc/self/mountinfo | grep -v cgroup | sed 's/^\\(.proc.[kt][a-z_]*\\) .*/\\1/' | sort
cat /proc/self/oom_score_adj; cat /proc/kcore | wc -c; ls /sys/firmware | wc -l
echo x 2>&1 >/proc/sys/kernel/hostname; mkdir /sys/x 2>&1; exit 42
"""


@pytest.fixture
def name() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def bundle_of(bench, make_bundle) -> Callable[..., str]:
    """Return a function that makes a bundle of a shell script; keywords as in Bench.shell."""

    def make(script: str, **changes: Any) -> str:
        return make_bundle(bench.shell(script, **changes))

    return make


def test_run_waits_and_gives_the_exit_code_and_leaves_nothing(minidock_runc, bundle_of, name: str) -> None:
    result = minidock_runc("run", "-b", bundle_of("echo out; echo err >&2; exit 42"), name, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (42, "out\n", "err\n")
    assert os.listdir(minidock_runc.state) == []


def test_the_life_of_a_container(minidock_runc, bundle_of, name: str, tmp_path: Path) -> None:
    directory = bundle_of("sleep 1000", annotations={"a": "b"})
    pid_file = tmp_path / "pid"
    with open(tmp_path / "out", "wb") as out:  # the container keeps the caller's streams
        minidock_runc(
            "create", "-b", directory, "--pid-file", str(pid_file), name, capture_output=False, stdout=out
        )
    state = minidock_runc.state_of(name)
    pid = int(pid_file.read_text())
    assert {key: state[key] for key in ("id", "status", "pid", "bundle", "ociVersion", "annotations")} == {
        "id": name,
        "status": "created",
        "pid": pid,
        "bundle": directory,
        "ociVersion": "1.0.2",
        "annotations": {"a": "b"},
    }
    assert "sleep" not in Path(f"/proc/{pid}/cmdline").read_text()
    minidock_runc("start", name)
    minidock_runc.await_status(name, "running")
    assert minidock_runc("start", name, check=False).returncode == 1
    assert "running" in minidock_runc("delete", name, check=False).stderr
    minidock_runc("kill", name, "KILL")
    minidock_runc.await_status(name, "stopped")
    assert minidock_runc.state_of(name)["pid"] == 0
    assert "not running" in minidock_runc("kill", name, check=False).stderr
    minidock_runc("delete", name)
    assert "does not exist" in minidock_runc("state", name, check=False).stderr
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(") ")[2][0] == "Z"  # its new parent may be slow


def test_a_created_container_can_be_deleted_or_killed(minidock_runc, bundle_of, name: str) -> None:
    for number, words in enumerate((("delete",), ("delete", "--force"))):
        identifier = f"{name}-{number}"
        minidock_runc(
            "create", "-b", bundle_of("true"), identifier, capture_output=False, stdout=subprocess.DEVNULL
        )
        minidock_runc(*words, identifier)
        assert minidock_runc("state", identifier, check=False).returncode == 1
    assert minidock_runc("delete", "--force", "never-was").returncode == 0
    assert minidock_runc("delete", "never-was", check=False).returncode == 1


def detached(runc, directory: str, name: str) -> None:
    runc("run", "-d", "-b", directory, name, capture_output=False, stdout=subprocess.DEVNULL)


def test_exec_runs_inside_and_gives_its_exit_code(
    minidock_runc, bundle_of, name: str, tmp_path: Path
) -> None:
    detached(minidock_runc, bundle_of("sleep 1000"), name)
    script = "echo $X; pwd; id -u; cat /proc/1/comm; exit 9"
    result = minidock_runc(
        "exec", "-e", "X=y", "--cwd", "/tmp", "-u", "1000:1000", name, "sh", "-c", script, check=False
    )
    assert (result.returncode, result.stdout.split()) == (9, ["y", "/tmp", "1000", "sleep"])
    assert minidock_runc("exec", name, "cat", input="piped").stdout == "piped"
    described = {"args": ["echo", "from a file"], "env": ["PATH=/bin"], "cwd": "/"}
    (tmp_path / "process.json").write_text(json.dumps(described))
    assert minidock_runc("exec", "-p", str(tmp_path / "process.json"), name).stdout == "from a file\n"
    missing = minidock_runc("exec", name, "/missing", check=False)
    assert missing.returncode != 0
    assert "no such file" in missing.stderr


def test_exec_by_another_user_has_no_capabilities(minidock_runc, bundle_of, name: str) -> None:
    detached(minidock_runc, bundle_of("sleep 1000"), name)
    result = minidock_runc(
        "exec", "-u", "1000", name, "grep", "-E", "Cap(Eff|Prm|Inh|Amb)", "/proc/self/status"
    )
    assert {line.split()[1] for line in result.stdout.splitlines()} == {"0" * 16}


def test_list_shows_what_is_there(minidock_runc, bundle_of, name: str) -> None:
    assert minidock_runc("list", "-q").stdout == ""
    detached(minidock_runc, bundle_of("sleep 1000"), name)
    assert minidock_runc("list", "-q").stdout == f"{name}\n"
    (entry,) = json.loads(minidock_runc("list", "-f", "json").stdout)
    assert (entry["id"], entry["status"]) == (name, "running")
    assert minidock_runc("list").stdout.splitlines()[1].split()[0] == name


def test_kill_all_reaches_every_process_of_the_cgroup(minidock_runc, bundle_of, name: str) -> None:
    directory = bundle_of("sleep 1000 & sleep 1000 & wait")
    detached(minidock_runc, directory, name)
    path = json.loads(Path(directory, "config.json").read_text())["linux"]["cgroupsPath"]
    while len(cgroups.at(path).processes()) < 3:
        time.sleep(0.01)
    minidock_runc("kill", "--all", name, "KILL")
    minidock_runc.await_status(name, "stopped")


def test_run_forwards_signals(minidock_runc, bundle_of, name: str) -> None:
    script = "trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    words = [*minidock_runc.command, "--root", minidock_runc.state, "run", "-b", bundle_of(script), name]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.stdout.read() == "term\n"
        assert running.wait(30) == 5


@pytest.mark.soak(100)
def test_a_signal_at_any_moment_of_a_run_leaves_no_container(
    minidock_runc, bundle_of, name: str, rounds: int
) -> None:
    """One that comes between the program's start and the wait for it must still be passed on."""
    directory = bundle_of("trap 'exit 5' TERM; while :; do sleep 0.05; done")
    words = [*minidock_runc.command, "--root", minidock_runc.state, "run", "-b", directory, name]
    state = Path(minidock_runc.state, name, "state.json")
    for _ in range(rounds):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as running:
            while not state.exists():
                time.sleep(0.001)
            while running.poll() is None:  # pid 1 ignores what comes before its trap
                running.terminate()
                time.sleep(0.05)
            assert running.returncode == 5
        assert os.listdir(minidock_runc.state) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nonsense",), "no such command"),
        (("--nonsense",), "flag provided but not defined"),
        (("run", "--nonsense", "x"), "flag provided but not defined"),
        (("run",), "requires a container ID"),
        (("run", "-b", "/missing", "x"), "config.json"),
        (("state", "../../etc"), "invalid container ID"),
        (("state", "never-was"), "does not exist"),
        (("--systemd-cgroup", "list"), "systemd"),
        (("run", "--preserve-fds", "3", "x"), "preserve-fds"),
    ],
)
def test_errors_are_one_line_and_status_1(minidock_runc, words: tuple[str, ...], message: str) -> None:
    result = minidock_runc(*words, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.startswith("minidock-runc: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process": {"args": ["missing"]}}, "executable file not found"),
        ({"process": {"args": ["true"], "capabilities": {"bounding": ["CAP_X"]}}}, "CAP_X"),
        ({"root": {"path": "/missing"}}, "/missing"),
        ({"linux": {"cgroupsPath": "/a/../b", "namespaces": [{"type": "mount"}, {"type": "uts"}]}}, "cgroup"),
        ({"process": {"args": []}}, "args"),
        ({"process": {"args": 5}}, "process.args"),
    ],
)
def test_a_container_that_cannot_start_says_why_and_leaves_nothing(
    minidock_runc, bench, make_bundle, name: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    spec = {**bench.spec("true"), **changes}
    if "cgroupsPath" in changes.get("linux", {}):
        spec["mounts"] = []
    log = tmp_path / "log"
    words = ("--log", str(log), "--log-format", "json", "run", "-b", make_bundle(spec), name)
    result = minidock_runc(*words, check=False)
    assert result.returncode == 1 or "CAP_X" in message
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    if "CAP_X" not in message:
        assert message in json.loads(log.read_text().splitlines()[-1])["msg"]
    assert not os.path.exists(minidock_runc.state) or os.listdir(minidock_runc.state) == []
    assert not cgroups.at(bench.spec()["linux"]["cgroupsPath"]).exists()


def test_a_name_that_is_taken_is_refused_and_its_owner_lives_on(minidock_runc, bundle_of, name: str) -> None:
    detached(minidock_runc, bundle_of("sleep 1000"), name)
    result = minidock_runc("run", "-b", bundle_of("true"), name, check=False)
    assert "already exists" in result.stderr
    assert minidock_runc.state_of(name)["status"] == "running"


def test_the_caller_gets_the_terminal_through_its_console_socket(
    minidock_runc, bundle_of, name: str, tmp_path: Path
) -> None:
    directory = bundle_of("tty; read x; echo got $x", process_terminal=True)
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(1)
        received: list[int] = []

        def accept() -> None:
            channel, _ = listener.accept()
            with channel:
                _, ancillary, _, _ = channel.recvmsg(100, socket.CMSG_SPACE(4))
                received.extend(array.array("i", ancillary[0][2]))

        thread = threading.Thread(target=accept)
        thread.start()
        words = ("create", "-b", directory, "--console-socket", path, name)
        minidock_runc(*words, capture_output=False, stdout=subprocess.DEVNULL)
        thread.join(30)
    (master,) = received
    minidock_runc("start", name)
    os.write(master, b"typed\n")
    assert b"got typed" in read_terminal(master)
    os.close(master)


def read_terminal(master: int) -> bytes:
    """Read until the other side hangs up."""
    data = b""
    while select.select([master], [], [], 30)[0]:
        try:
            chunk = os.read(master, 4096)
        except OSError:
            break
        if not chunk:
            break
        data += chunk
    return data


def test_a_foreground_run_carries_the_callers_terminal(minidock_runc, bundle_of, name: str) -> None:
    script = "tty; stty size; read x; echo got $x; exit 7"
    master, slave = pty.openpty()
    process_size(master, 21, 43)
    directory = bundle_of(script, process_terminal=True)
    words = [*minidock_runc.command, "--root", minidock_runc.state, "run", "-b", directory, name]
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as running:
        os.close(slave)
        os.write(master, b"typed\n")
        output = read_terminal(master)
        assert running.wait(30) == 7
    os.close(master)
    assert b"/dev/pts/0\r\n21 43\r\n" in output.replace(b"typed\r\n", b"")
    assert b"got typed" in output


def process_size(descriptor: int, rows: int, columns: int) -> None:
    from minidock.kernel import terminal

    terminal.set_size(descriptor, rows, columns)


def test_a_terminal_without_a_way_out_is_refused(minidock_runc, bundle_of, name: str, tmp_path: Path) -> None:
    directory = bundle_of("true", process_terminal=True)
    assert "console socket" in minidock_runc("create", "-b", directory, name, check=False).stderr
    words = ("run", "-b", directory, "--console-socket", str(tmp_path / "s"), name)
    assert "console socket" in minidock_runc(*words, check=False).stderr


def test_init_waits_in_a_sealed_copy_of_python(minidock_runc, bundle_of, name: str) -> None:
    minidock_runc("create", "-b", bundle_of("true"), name, capture_output=False, stdout=subprocess.DEVNULL)
    executable = f"/proc/{minidock_runc.state_of(name)['pid']}/exe"
    assert os.readlink(executable).startswith("/memfd:")
    descriptor = os.open(executable, os.O_RDONLY)
    assert process.seals(descriptor) == 0b1111
    os.close(descriptor)


def test_descriptors_of_the_caller_reach_neither_init_nor_the_program(
    minidock_runc, bundle_of, name: str, tmp_path: Path
) -> None:
    leak = os.open(tmp_path, os.O_RDONLY)
    directory = bundle_of("ls /proc/self/fd")
    result = minidock_runc("run", "-b", directory, name, pass_fds=[leak])
    assert result.stdout.split() == ["0", "1", "2", "3"]
    minidock_runc(
        "create", "-b", directory, name, pass_fds=[leak], capture_output=False, stdout=subprocess.DEVNULL
    )
    pid = minidock_runc.state_of(name)["pid"]
    links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    assert str(tmp_path) not in links
    os.close(leak)


def example(runc: str, directory: Path, root: Path, script: str, terminal: bool = False) -> dict[str, Any]:
    """Return `runc spec`'s own example, changed to run `script` in `root`."""
    subprocess.run([runc, "spec"], cwd=directory, check=True)
    spec = json.loads((directory / "config.json").read_text())
    (directory / "config.json").unlink()
    spec["process"] |= {"args": ["/bin/sh", "-c", script], "terminal": terminal}
    spec["process"]["env"] = ["PATH=/bin", "A=b"]
    spec["root"]["path"] = str(root)
    return spec


@pytest.mark.oracle("runc")
@pytest.mark.parametrize("origin", ["ours", "theirs"])
def test_a_bundle_has_the_same_result_under_both(
    minidock_runc, real_runc, bench, make_bundle, name: str, origin: str, tmp_path: Path
) -> None:
    if origin == "theirs":
        spec = example(real_runc.command[0], tmp_path, bench.root, PROBE)
        spec["linux"]["cgroupsPath"] = f"{bench.parent}/{name}"
    else:
        spec = bench.shell(PROBE, process_env=["PATH=/bin", "A=b"], hostname="same")
        spec["linux"]["maskedPaths"] = ["/proc/kcore", "/sys/firmware"]
        spec["linux"]["readonlyPaths"] = ["/proc/sys"]
    directory = make_bundle(spec)
    results = [runc("run", "-b", directory, name, check=False) for runc in (minidock_runc, real_runc)]
    assert results[0].stdout == results[1].stdout
    assert results[0].returncode == results[1].returncode == 42


@pytest.mark.oracle("runc")
@pytest.mark.parametrize(
    ("script", "changes"),
    [
        ("id; pwd; ls -d .", {"process_user": {"uid": 1000, "gid": 1000, "additionalGids": [7]}}),
        ("cat /proc/self/status | grep ^Cap", {"process_user": {"uid": 1000, "gid": 1000}}),
        ("kill -TERM $$; sleep 1; exit 3", {}),
        ("sh -c 'kill -SEGV $$'; echo $?", {}),
        ("umask; cat", {"process_user": {"umask": 0o077}}),
        ("stat -c '%a %u %t:%T' /dev/null /dev/tty /dev/ptmx /dev/pts/ptmx", {}),
        ("readlink /dev/core /dev/fd /dev/stdin /dev/ptmx", {}),
        ("ulimit -n", {"process_rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]}),
        ("pwd", {"process_cwd": "/new/directory"}),
        ("touch /x; echo $?", {"root_readonly": True}),
    ],
)
def test_details_are_the_same_under_both(
    minidock_runc, real_runc, own_root, bundle_of, name: str, script: str, changes: dict[str, Any]
) -> None:
    readonly = changes.pop("root_readonly", False) if "root_readonly" in changes else False
    directory = bundle_of(script, **changes)
    if readonly:
        spec = json.loads(Path(directory, "config.json").read_text())
        spec["root"]["readonly"] = True
        Path(directory, "config.json").write_text(json.dumps(spec))
    ours, theirs = (runc("run", "-b", directory, name, check=False) for runc in (minidock_runc, real_runc))
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


@pytest.mark.oracle("runc")
@pytest.mark.parametrize("command", [["missing"], ["/missing"], ["/etc/passwd"]])
def test_both_refuse_what_cannot_be_executed(
    minidock_runc, real_runc, bench, make_bundle, name: str, command: list[str]
) -> None:
    directory = make_bundle(bench.spec(*command))
    for runc in (minidock_runc, real_runc):
        result = runc("run", "-b", directory, name, check=False)
        assert result.returncode == 1, result
        assert "no such file" in result.stderr or "not found" in result.stderr or "denied" in result.stderr
