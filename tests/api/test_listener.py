"""The unix socket: its owner and mode, its name, and what may be in its way."""

import os
import socket
import stat
from pathlib import Path

import pytest

from minidock.api.listener import listen
from minidock.errors import Conflict, InvalidParameter, Unsupported


def test_the_socket_is_for_root_and_its_group_only(tmp_path: Path) -> None:
    listener = listen(f"unix://{tmp_path}/s", "4242")
    status = os.stat(f"{tmp_path}/s")
    listener.close()
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert (status.st_uid, status.st_gid) == (0, 4242)
    assert os.listdir(tmp_path) == []


def test_a_socket_path_may_be_longer_than_the_kernels_limit(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 100) / "s"
    listener = listen(f"unix://{path}", None)
    assert path.is_socket()
    listener.close()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(f"{tmp_path}/s")
    stale.close()
    first = listen(f"unix://{tmp_path}/s", None)
    with pytest.raises(Conflict, match="another daemon"):
        listen(f"unix://{tmp_path}/s", None)
    first.close()
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(Conflict, match="not a socket"):
        listen(f"unix://{tmp_path}/s", None)
    assert (tmp_path / "s").read_text() == "precious"


def test_closing_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    first = listen(f"unix://{tmp_path}/s", None)
    os.unlink(first.path)
    second = listen(f"unix://{tmp_path}/s", None)
    first.close()
    assert (tmp_path / "s").is_socket()
    second.close()


@pytest.mark.parametrize("host", ["ssh://x", "npipe://x"])
def test_other_schemes_are_refused_by_name(host: str) -> None:
    with pytest.raises(Unsupported, match="is not served"):
        listen(host, None)


@pytest.mark.parametrize(
    ("host", "group"), [("/run/x", None), ("unix://relative", None), ("unix:///x/s", "no-such-group")]
)
def test_a_bad_host_or_group_is_refused(host: str, group: str | None) -> None:
    with pytest.raises(InvalidParameter):
        listen(host, group)
