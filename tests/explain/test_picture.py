"""The parts of the picture that need no engine, and what is said when nothing can be drawn."""

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidock.errors import Conflict, Unavailable
from minidock.explain import layers, packets, picture, seen

ROOT = Path(__file__).parents[2]


def inspection(pid: int, status: str = "running") -> dict[str, object]:
    return {
        "Id": os.urandom(32).hex(),
        "Name": "/web",
        "Path": "sh",
        "Args": [],
        "State": {"Pid": pid, "Status": status},
        "Config": {"Image": "hostbox"},
    }


def test_a_container_that_does_not_run_is_not_drawn() -> None:
    with pytest.raises(Conflict, match=r"^container web is exited: only one that runs can be drawn"):
        picture.draw(inspection(0, "exited"), "unix:///s")


def test_a_process_of_the_same_number_is_not_taken_for_the_containers() -> None:
    for pid in (os.getpid(), 2**22 - 1):
        with pytest.raises(Unavailable, match=rf"^process {pid} of this machine .* engine at tcp://far:2375"):
            picture.draw(inspection(pid), "tcp://far:2375")


def test_without_root_it_says_that_it_needs_root() -> None:
    program = (
        "import os; from minidock.explain import picture; os.setresuid(65534, 65534, 65534); "
        f"picture.draw({inspection(os.getpid())!r}, '')"
    )
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stderr.rstrip().endswith("which needs root: run it with sudo")


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    assert seen.printable("a\x1b[2Jb\nc\x9bd é") == "a?[2Jb?c?d é"


def test_a_process_is_drawn_below_those_that_made_it() -> None:
    daemon = seen.Process(10, 1, 10, "minidock daemon", 9, is_sealed=False)
    spawner = seen.Process(11, 10, 11, "", 1, is_sealed=True)
    shim = seen.Process(12, 11, 12, "", 1, is_sealed=True)
    with subprocess.Popen(["sh", "-c", "sleep 60; true"]) as shell:
        try:
            while not (children := seen_children(shell.pid)):
                time.sleep(0.01)
            drawn = seen.tree([shim, spawner, daemon], [shell.pid, *children])
        finally:
            for child in seen_children(shell.pid):
                os.kill(child, 9)
            shell.kill()
    assert drawn[:3] == [
        "daemon, pid 10",
        "└─ spawner, pid 11: one thread, a sealed copy of Python",
        "   └─ shim, pid 12: one thread, a sealed copy of Python",
    ]
    assert drawn[3] == f"      └─ pid {shell.pid}: sh -c sleep 60; true"
    assert drawn[4].startswith(f"         └─ pid {children[0]}: ")
    adopted = seen.tree([shim, seen.Process(1, 0, 1, "/sbin/init", 1, is_sealed=False)], [])
    assert adopted[0] == "pid 1: /sbin/init", "the daemon that made it is gone"


def seen_children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_layer_shows_what_it_hides_and_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "new").touch()
    (tmp_path / "empty").mkdir()
    os.mknod(tmp_path / "etc" / "gone", stat.S_IFCHR, os.makedev(0, 0))
    (tmp_path / "replaced").mkdir()
    os.setxattr(tmp_path / "replaced", "trusted.overlay.opaque", b"y")
    (tmp_path / "link").symlink_to("/")
    there = layers.content(str(tmp_path))
    assert there.whiteouts == ["/etc/gone"]
    assert there.replaced == ["/replaced"]
    assert set(there.names) == {"/etc/new", "/empty", "/replaced", "/link"}
    assert (there.files, there.is_all) == (5, True)


def test_a_large_layer_is_counted_only_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST_FILES", 3)
    for name in "abcdef":
        (tmp_path / name).touch()
    there = layers.content(str(tmp_path))
    assert not there.is_all
    assert layers.counted(there) == "more than 3 names"


@pytest.mark.parametrize(
    "options",
    [
        ("rw", "lowerdir+=/data/layers/../init-layer", "lowerdir+=/data/layers/l/AB"),
        ("rw", "lowerdir=../init-layer:l/AB"),
    ],
    ids=["new", "before Linux 6.5"],
)
def test_lower_layers_are_found_however_the_kernel_names_them(options: tuple[str, ...]) -> None:
    driver = {"LowerDir": "/data/layers/0123/diff:/data/layers/4567/diff"}
    assert layers.lower_directories(options, driver) == ["/data/init-layer", "/data/layers/l/AB"]


def test_elements_are_read_as_nft_prints_them() -> None:
    body = "\n\t\ttype inet_proto . inet_service : ipv4_addr . inet_service\n" + (
        "\t\telements = { tcp . 80 : 10.0.0.2 . 8080,\n\t\t\t     udp . 53 : 10.0.0.3 . 53 }"
    )
    assert packets.elements_of(body) == ["tcp . 80 : 10.0.0.2 . 8080", "udp . 53 : 10.0.0.3 . 53"]
    assert packets.elements_of("\n\t\ttype ifname") == []


def test_a_listener_is_found_by_its_descriptor() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        found = packets.listeners(os.getpid())
        assert found[four.fileno()] == f"tcp 127.0.0.1:{four.getsockname()[1]}"
        assert found[six.fileno()] == f"tcp [::1]:{six.getsockname()[1]}"
        assert four.fileno() not in packets.listeners(os.getppid())
