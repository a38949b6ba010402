"""What strangers bring may be as much as they like: the daemon stays below 150 MB.

`--soak` brings 300,000 of each; the peak is the kernel's own account of the daemon (proc(5), VmHWM).
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from minidock.formats.tarheader import BLOCK, DIRECTORY, HARD_LINK, SYMLINK, Entry, encode_entry
from tests.api.conftest import Daemon, UnixConnection, busybox_tar

PEAK_MAX = 150 << 10  # kilobytes
EACH_ROUND = 300
PIECE = 1 << 18
PATIENCE = 3600
LONG = "x" * 150
DEEP = "/".join(["y" * 200] * 5)


@pytest.fixture
def daemon(new_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    """A daemon of the test's own, which has never taken more than it must."""
    daemon = new_daemon("bounded")
    yield daemon
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    assert int(match[1]) < PEAK_MAX
    for container in daemon.client().get("/containers/json?all=1").json:
        daemon.client().delete(f"/containers/{container['Id']}")
    daemon.process.terminate()
    assert daemon.process.wait(PATIENCE) == 0  # it ends when the last tree is removed


def send(daemon: Daemon, method: str, target: str, body: Iterable[bytes] | bytes = b"") -> tuple[int, bytes]:
    """Send a request with a streamed body; return the status and the whole answer."""
    with contextlib.closing(UnixConnection(daemon.socket_path, PATIENCE)) as connection:
        headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
        with contextlib.suppress(BrokenPipeError):  # it refuses before it has read all
            connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def tar(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield a tar of entries without data, in pieces of a fair size."""
    piece = bytearray()
    for entry in entries:
        piece += encode_entry(entry)
        if len(piece) > PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece) + bytes(2 * BLOCK)


def import_(daemon: Daemon, entries: Iterable[Entry]) -> bytes:
    status, answer = send(daemon, "POST", "/images/create?fromSrc=-&repo=hostile", tar(entries))
    assert status in (200, 400), answer
    return answer


@pytest.mark.soak(1000)
def test_an_import_of_very_many_whiteouts(daemon: Daemon, rounds: int) -> None:
    entries = (Entry(f"{number % 7}/.wh.{number}{LONG}") for number in range(EACH_ROUND * rounds))
    assert b"sha256:" in import_(daemon, entries)


@pytest.mark.soak(1000)
def test_an_import_of_very_many_directories_with_long_paths(daemon: Daemon, rounds: int) -> None:
    entries = (Entry(f"{DEEP}/{number}/", DIRECTORY, 0o755) for number in range(EACH_ROUND * rounds))
    assert b"sha256:" in import_(daemon, entries)


@pytest.mark.soak(1000)
def test_an_import_of_very_many_files_of_aufs_own_is_refused(daemon: Daemon, rounds: int) -> None:
    entries = (Entry(f".wh..wh.{number}{LONG}") for number in range(EACH_ROUND * rounds))
    assert b"of aufs' own names" in import_(daemon, entries)


@pytest.mark.parametrize("kind", [SYMLINK, HARD_LINK])
def test_an_archive_of_images_with_long_names_is_refused(daemon: Daemon, kind: str) -> None:
    long = "/".join(["z" * 250] * 15)
    entries = [Entry(f"{number}/{long}", kind, link=f"{long}/{number}") for number in range(2000)]
    status, answer = send(daemon, "POST", "/images/load", tar(entries))
    assert status == 200
    assert b"a name of more than" in answer


@pytest.fixture
def box(daemon: Daemon) -> str:
    """A container, not started, of the image `base`."""
    assert send(daemon, "POST", "/images/create?fromSrc=-&repo=base", iter([busybox_tar()]))[0] == 200
    return daemon.client().post("/containers/create", {"Image": "base", "Cmd": ["sh"]}).json["Id"]


def read_in_every_way(daemon: Daemon, box: str) -> tuple[list[str], list[str]]:
    """Export, copy and commit a container; return the paths that `diff` lists, of it and of its image."""
    for target in (f"/containers/{box}/export", f"/containers/{box}/archive?path=/"):
        assert send(daemon, "GET", target)[0] == 200
    assert send(daemon, "POST", f"/commit?container={box}&repo=changed", b"{}")[0] == 201
    lists = []
    for target in (f"/containers/{box}/changes", "/images/base/changes?to=changed"):
        status, answer = send(daemon, "GET", target)
        assert status == 200
        lists.append([change["Path"] for change in json.loads(answer)])
    return lists[0], lists[1]


@pytest.mark.soak(1000)
def test_a_container_with_very_many_changes(daemon: Daemon, box: str, rounds: int) -> None:
    count = EACH_ROUND * rounds
    entries = (Entry(f"d{number % 3}/{number:07}{LONG}") for number in range(count))
    assert send(daemon, "PUT", f"/containers/{box}/archive?path=/", tar(entries))[0] == 200
    of_container, of_image = read_in_every_way(daemon, box)
    assert of_container == of_image == sorted(of_container, key=lambda path: path.split("/"))
    assert len(of_container) == count + 3
    assert send(daemon, "DELETE", f"/containers/{box}")[0] == 204
    assert send(daemon, "DELETE", "/images/changed")[0] == 200


@pytest.mark.soak(1000)
def test_a_container_with_very_many_hard_links(daemon: Daemon, box: str, rounds: int) -> None:
    def entries() -> Iterator[Entry]:
        for number in range(EACH_ROUND * rounds // 2):
            first = f"a{number % 3}/{number:07}{LONG}"
            yield Entry(first)
            yield Entry(f"b{number % 3}/{number:07}{LONG}", HARD_LINK, link=first)

    assert send(daemon, "PUT", f"/containers/{box}/archive?path=/", tar(entries()))[0] == 200
    of_container, of_image = read_in_every_way(daemon, box)
    assert of_container == of_image
    assert len(of_container) == 2 * (EACH_ROUND * rounds // 2) + 6
