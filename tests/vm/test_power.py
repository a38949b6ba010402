"""Power cuts in the middle of load, import and run: what is listed afterwards is whole, the engine starts.

The machine's disk keeps exactly what the guest had flushed: no other test sees what a missing fsync costs.
"""

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

ENGINE = "export DOCKER_HOST=unix:///run/minidock/minidock.sock"
CUTS = 3
ARCHIVES = 8
# Images in the form of `docker save`, and plain root file systems for import; each holds its own name.
MAKE = """
import hashlib, io, json, sys, tarfile

def tar(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data, link in entries:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(data)
            if link:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()

busybox = open("/bin/busybox", "rb").read()
links = [(f"bin/{name}", b"", "busybox") for name in ("sh", "cat", "echo", "sleep", "sync")]
for number in range(int(sys.argv[1])):
    for kind in ("import", "load"):
        name = f"{kind}{number}"
        layer = tar([("bin/busybox", busybox, ""), *links, ("name", f"{name}\\n".encode(), "")])
        if kind == "load":
            digest = "sha256:" + hashlib.sha256(layer).hexdigest()
            config = json.dumps({
                "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest]}, "history": [],
            }).encode()
            manifest = [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
            parts = [("config.json", config, ""), ("layer.tar", layer, "")]
            layer = tar([*parts, ("manifest.json", json.dumps(manifest).encode(), "")])
        with open(f"{name}.tar", "wb") as file:
            file.write(layer)
"""
# Everything that writes records, over and over, until the power goes.
WORK = f"""{ENGINE}
cd /var/tmp/power
n=0
while :; do
    n=$((n + 1)) one=$((n % {ARCHIVES}))
    docker load -qi load$one.tar
    docker import import$one.tar import$one
    docker run -d --network none load$one sh -c 'echo started; sleep 5' &
    docker run --network none load$one sh -c 'echo text > /file; sync'
    docker rmi -f import$one
    wait
done
"""
# For each image that is listed: does its own file hold its own name, read by a container. One that lost its
# name to a later import, as in Docker, is asked for by its id.
CHECK_IMAGES = f"""{ENGINE}
docker images --no-trunc --format '{{{{.Repository}}}} {{{{.ID}}}}' | while read name id; do
    [ $name = hostbox ] || echo $name $(docker run --rm --network none $id cat /name </dev/null)
done
"""
CHECK_CONTAINERS = f"""{ENGINE}
for id in $(docker ps -aq --no-trunc); do
    docker inspect --format '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' $id
    docker logs $id >/dev/null && docker rm -f $id >/dev/null && echo removed
done
"""


@pytest.fixture(scope="module")
def service(vm: "Machine") -> Iterator["Machine"]:
    """The machine with the engine as an enabled unit, and the archives for WORK."""
    vm.run("sh /vagrant/tests/vm/guest.sh units /vagrant")
    vm.run("mkdir -p /var/tmp/power")
    vm.put("/var/tmp/power/make.py", MAKE.encode())
    vm.run(f"cd /var/tmp/power && python3 make.py {ARCHIVES}")
    yield vm
    vm.run("systemctl disable --now minidock.service", check=False)
    vm.run("rm -rf /var/tmp/power", check=False)


@pytest.mark.parametrize("cut", range(CUTS))
def test_what_is_listed_after_a_power_cut_is_whole(service: "Machine", cut: int) -> None:
    moment = random.uniform(5, 40)
    with service.start(WORK) as work:
        time.sleep(moment)
        service.cut_power()
        work.kill()
    service.boot()
    service.run("systemctl start minidock")
    assert service.run("systemctl is-active minidock").stdout.strip() == "active"
    listed = [line.split() for line in service.run(CHECK_IMAGES, timeout=1800).stdout.splitlines()]
    broken = [pair for pair in listed if len(pair) != 2 or pair[0] not in (pair[1], "<none>")]
    assert broken == [], f"cut after {moment:.1f} s"
    assert listed or cut == 0, "the work left nothing to judge"
    answer = service.run(CHECK_CONTAINERS, timeout=1800)
    assert answer.stderr == ""
    states = [line for line in answer.stdout.splitlines() if line != "removed"]
    assert len(states) == answer.stdout.split().count("removed")
    assert not [line for line in states if line.split()[0] in ("running", "paused", "restarting", "removing")]
    journal = service.run("journalctl -b -u minidock --no-pager -o cat").stdout
    assert "Traceback" not in journal
    assert "quarantine" not in journal, journal
