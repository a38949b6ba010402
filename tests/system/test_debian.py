"""A whole distribution in a container: package-sized programs, su, setuid, python, job control."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.system.conftest import Docker

pytestmark = pytest.mark.oracle("mmdebstrap")
SUITE = "bookworm"


@pytest.fixture(scope="session")
def debian(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """Yield a docker whose image is Debian with python3 and procps, made from the host's own package
    sources.
    """
    root = tmp_path_factory.mktemp("debian") / "root.tar"
    wanted = "--include=python3-minimal,procps,passwd"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", wanted, SUITE, str(root)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    docker("import", str(root), "debian:test")
    root.unlink()
    yield Docker(docker.program, docker.host, "debian:test")
    docker("rmi", "-f", "debian:test")


@pytest.mark.timeout(600)
def test_programs_of_a_distribution_work(debian: Docker) -> None:
    script = """
        bash --version | head -n 1
        python3 -c 'import os, threading; print(sum(range(10)))'
        ps -o pid= -C ps | wc -l
        apt-get --version | head -n 1
        dpkg --get-selections | grep -c install
        find / -xdev -type f | wc -l
    """
    lines = debian.run(script=script).stdout.splitlines()
    assert lines[0].startswith("GNU bash")
    assert lines[1:3] == ["45", "1"]
    assert lines[3].startswith("apt ")
    assert int(lines[4]) > 50
    assert int(lines[5]) > 1000


@pytest.mark.timeout(600)
def test_su_and_setuid_programs_change_the_user(debian: Docker) -> None:
    script = """
        useradd -m somebody && su somebody -c 'id -un; id -u; echo $HOME'
        cp /usr/bin/id /tmp/id && chown root /tmp/id && chmod u+s /tmp/id && su somebody -c '/tmp/id -u'
    """
    assert debian.run(script=script).stdout.splitlines() == ["somebody", "1000", "/home/somebody", "0"]
    hardened = debian.run(
        "--security-opt", "no-new-privileges", "-u", "1000", script="cp /usr/bin/id /tmp/id; /tmp/id -u"
    )
    assert hardened.stdout == "1000\n"


@pytest.mark.timeout(600)
def test_apt_installs_a_package_that_lies_in_the_container(debian: Docker) -> None:
    script = """
        mkdir -p /tmp/p/DEBIAN && printf 'Package: thing\\nVersion: 1\\nArchitecture: all\\nMaintainer: a
        <a@b>\\nDescription: x\\n' \\
            > /tmp/p/DEBIAN/control && mkdir -p /tmp/p/usr/share && echo there > /tmp/p/usr/share/thing
        dpkg-deb -b /tmp/p /tmp/thing.deb > /dev/null && apt-get install -qq /tmp/thing.deb > /dev/null 2>&1
        cat /usr/share/thing
    """
    assert debian.run(script=script).stdout == "there\n"


@pytest.mark.timeout(600)
def test_job_control_on_a_terminal(debian: Docker) -> None:
    master, slave = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"],
        "DOCKER_HOST": debian.host,
        "HOME": "/nonexistent",
        "TERM": "xterm",
    }
    words = [debian.program, "run", "-it", "--rm", "--net", "none", debian.image, "bash", "--norc"]
    client = subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    try:
        expect(master, b"# ")
        for keys, answer in (
            (b"sleep 1000\n", b"sleep 1000"),
            (b"\x1a", b"Stopped"),
            (b"bg\n", b"sleep 1000 &"),
            (b"jobs\n", b"Running"),
            (b"fg\n", b"sleep 1000"),
            (b"\x03", b"# "),
            (b"exit 7\n", b"exit"),
        ):
            time.sleep(0.3)
            os.write(master, keys)
            expect(master, answer)
        assert client.wait(timeout=30) == 7
    finally:
        client.kill()
        client.wait()
        os.close(master)


def expect(master: int, wanted: bytes) -> None:
    """Read from the terminal until `wanted` has come."""
    seen, deadline = b"", time.monotonic() + 60
    while wanted not in seen:
        ready, _, _ = select.select([master], [], [], max(0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(master, 65536)
