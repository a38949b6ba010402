"""What `run` and `create` send, compared with what docker's own command line sends for the same flags."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import MINIDOCK, Recorder, environment

ACCEPTED = """
IMAGE
-i IMAGE cat
-t IMAGE sh -c 'a b'
-a stdin IMAGE
-a stdin -a stdout -i IMAGE
--attach STDERR IMAGE
--add-host a:1.2.3.4 --add-host b=::1 --add-host 'c:[::1]' --add-host h:host-gateway IMAGE
--annotation k=v --blkio-weight 300 --blkio-weight-device /dev/sda:100 IMAGE
--cap-add net_admin --cap-add CAP_SYS_TIME --cap-add ALL --cap-drop mknod IMAGE
--cgroup-parent /x --cgroupns host --ipc host --pid host --uts host --userns host IMAGE
--cpu-period 5 --cpu-quota 6 -c 7 --cpuset-cpus 0-1 --cpuset-mems 0 IMAGE
--cpu-rt-period 1 --cpu-rt-runtime 2 IMAGE
--cpus 0.5 IMAGE
--cpus .25 IMAGE
--device /dev/null:/dev/x --device /dev/zero:r --device /dev/a:/dev/b:rw IMAGE
--device vendor.com/class=name IMAGE
--device-cgroup-rule 'c 1:3 rwm' --device-read-bps /dev/sda:1mb --device-write-iops /dev/sda:5 IMAGE
--dns 8.8.8.8 --dns-option ndots:2 --dns-search . --domainname d -h host IMAGE
--entrypoint /bin/ls IMAGE -l
--entrypoint '' IMAGE
-e B=1 -e SET -e NOTSET -e C= --env-file ENVFILE IMAGE
--expose 80 --expose 90-91/udp IMAGE
--group-add 1 --group-add x -u 1:2 -w /a IMAGE
--health-cmd 'x y' --health-interval 5s --health-retries 2 --health-timeout 1m30s IMAGE
--health-cmd x --health-start-period 1s --health-start-interval 2s IMAGE
--no-healthcheck --init IMAGE
--init=false IMAGE
--ip 1.2.3.4 IMAGE
--network foo --ip 1.2.3.4 --ip6 ::2 --network-alias al --mac-address 92:d0:c6:0a:29:33 IMAGE
--network name=foo,ip=1.2.3.4,alias=x,driver-opt=a=b IMAGE
--network none IMAGE
--net container:x IMAGE
--net a --net b IMAGE
-l a=b -l c -l d= --link a:b --log-driver json-file --log-opt max-size=1m IMAGE
-m 64m --memory-swap -1 --memory-reservation 10M --memory-swappiness 10 IMAGE
--oom-kill-disable --oom-score-adj 9 IMAGE
-m 1.5g --memory-swap 2GiB --pids-limit -1 --shm-size 1g IMAGE
--mount type=bind,src=/a,dst=/b,readonly,bind-propagation=rshared IMAGE
--mount type=volume,source=v,target=/t,volume-nocopy=true,volume-driver=x,volume-opt=a=b IMAGE
--mount type=volume,source=v,target=/t,volume-label=l=m,volume-subpath=s IMAGE
--mount type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1777 --mount dst=/b IMAGE
--name foo_1 --platform linux/arm64 --privileged --read-only --rm --runtime crun IMAGE
-p 80 -p 8080:80 -p 127.0.0.1:81:82/udp -p 1000-1002:2000-2002 -p [::1]:80:80 -P IMAGE
-p 1000-1002:80 --publish mode=host,target=81,published=8080 IMAGE
--restart always IMAGE
--restart on-failure:3 IMAGE
--security-opt seccomp=unconfined --security-opt no-new-privileges --security-opt label:disable IMAGE
--security-opt systempaths=unconfined --stop-signal INT --stop-timeout 5 --storage-opt size=1G IMAGE
--sysctl net.core.somaxconn=5 --tmpfs /a --tmpfs /b:rw,size=64k IMAGE
--ulimit nofile=5 --ulimit nproc=1:2 --ulimit core=-1 IMAGE
-v /a:/b:ro -v /c -v name:/d -v /e:/f:z,rshared --volumes-from a --volumes-from b:ro IMAGE
IMAGE -- ls
-- IMAGE ls
sha256:abc
localhost:5000/a/b:c ls
""".strip().splitlines()

REFUSED = """
-a foo IMAGE
--add-host bad IMAGE
--add-host a:999 IMAGE
--cgroupns zz IMAGE
--cpus 1.123456789123 IMAGE
--cpus abc IMAGE
--device /dev/null:/dev/x:q IMAGE
--device '' IMAGE
--device-cgroup-rule bad IMAGE
--dns bad IMAGE
-e =x IMAGE
--env-file nofile IMAGE
--expose bad IMAGE
--no-healthcheck --health-cmd x IMAGE
--health-interval 5 IMAGE
--health-interval -5s IMAGE
--mac-address zz IMAGE
--pid bogus IMAGE
--log-driver none --log-opt a=b IMAGE
-m 64x IMAGE
-m -5 IMAGE
--memory-swappiness 200 IMAGE
--mount type=volume IMAGE
--mount bogus=1 IMAGE
--mount bogus IMAGE
--mount type=bind,src=/a,dst=/b,tmpfs-size=1 IMAGE
--mount type=bind,src=/a,dst=/b,ro=maybe IMAGE
--mount type=bind,source=/a,target=/b,bind-recursive=readonly,ro IMAGE
-p bad IMAGE
-p 70000:80 IMAGE
-p 8080:80/foo IMAGE
--pull foo IMAGE
--restart always --rm IMAGE
--restart on-failure:x IMAGE
--security-opt seccomp=nofile IMAGE
--security-opt bogus IMAGE
--shm-size x IMAGE
--sysctl bad IMAGE
--ulimit bogus=5 IMAGE
--ulimit nofile=5:3 IMAGE
--ulimit nofile IMAGE
--tty=maybe IMAGE
-v '' IMAGE
--stop-timeout x IMAGE
--blkio-weight 70000 IMAGE
--nope IMAGE
-iz IMAGE
-m
BUSYbox
""".strip().splitlines()


class Both:
    """Runs one command line through docker and through us, on a server that records."""

    def __init__(self, recorder: Recorder, docker: str, directory: Path) -> None:
        self.recorder, self.docker, self.directory = recorder, docker, directory
        (directory / "envfile").write_text("# comment\nX=1\nSET\n  Y=2 \nNOTSET\n\n")

    def ask(self, line: str) -> list[tuple[int, str, str, Any]]:
        words = shlex.split(line.replace("IMAGE", "busybox").replace("ENVFILE", "envfile"))
        results = []
        for program in ([self.docker], MINIDOCK):
            answer = subprocess.run(
                [*program, "create", *words],
                env=environment(self.recorder.host) | {"SET": "set"},
                cwd=self.directory,
                capture_output=True,
                check=False,
                text=True,
                timeout=60,
            )
            target, body = self.recorder.created()
            stderr = answer.stderr.replace("minidock", "docker")
            results.append((answer.returncode, stderr, target, meaning(in_any_order(body))))
        return results


def in_any_order(body: Any) -> Any:
    """Sort the environment: with an --env-file, docker 28 does not always send it in the same order."""
    if isinstance(body, dict) and isinstance(body.get("Env"), list):
        return {**body, "Env": sorted(body["Env"])}
    return body


def meaning(value: Any) -> Any:
    """Return the body without its empty fields: docker spells them out, the engine has defaults."""
    if isinstance(value, dict):
        kept = {name: meaning(item) for name, item in value.items()}
        if kept.get("MemorySwappiness") == -1:
            del kept["MemorySwappiness"]
        if kept.get("Binds"):
            kept["Binds"].sort()  # docker keeps them in a map: its order is random
        return {name: item for name, item in kept.items() if item not in (None, "", 0, False, {}, [], [0, 0])}
    return [meaning(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def both(recorder: Recorder, docker28: str, tmp_path: Path) -> Both:
    return Both(recorder, docker28, tmp_path)


@pytest.mark.parametrize("line", ACCEPTED)
def test_the_request_means_what_dockers_does(line: str, both: Both) -> None:
    theirs, ours = both.ask(line)
    assert theirs[3] is not None
    assert ours == theirs


@pytest.mark.parametrize("line", REFUSED)
def test_a_mistake_is_told_in_dockers_words(line: str, both: Both) -> None:
    theirs, ours = both.ask(line)
    assert theirs[0] != 0
    assert ours == theirs


def test_the_default_request_without_an_oracle(recorder: Recorder) -> None:
    command = [*MINIDOCK, "create", "-m", "64m", "busybox", "true"]
    subprocess.run(command, env=environment(recorder.host), capture_output=True, check=True)
    target, body = recorder.created()
    assert target == "/v1.50/containers/create"
    assert body["Image"] == "busybox"
    assert body["Cmd"] == ["true"]
    assert body["HostConfig"]["Memory"] == 64 << 20
    assert body["HostConfig"]["NetworkMode"] == "default"
    assert body["NetworkingConfig"] == {"EndpointsConfig": {"default": {}}}


def test_relative_bind_sources_are_made_absolute(recorder: Recorder, tmp_path: Path) -> None:
    command = [*MINIDOCK, "create", "-v", "./x:/y", "busybox"]
    subprocess.run(command, env=environment(recorder.host), cwd=tmp_path, capture_output=True, check=True)
    assert recorder.created()[1]["HostConfig"]["Binds"] == [f"{os.path.realpath(tmp_path)}/x:/y"]
