"""minidock.runtime.protocol and requests: messages with descriptors, of any size, at any path."""

import os
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.runtime import protocol
from minidock.runtime.requests import AttachClient, pack, unpack

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def same_file(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


@given(st.dictionaries(st.text(), values))
def test_a_message_arrives_as_it_was_sent(message: dict[str, object]) -> None:
    ours, theirs = protocol.pair()
    with ours, theirs:
        protocol.send(ours, message)
        assert protocol.receive(theirs) == (message, [])


@pytest.mark.parametrize("size", [10, protocol.MAXIMUM_DATAGRAM, 3_000_000])
def test_descriptors_arrive_in_their_order_whatever_the_size(size: int, tmp_path: Path) -> None:
    files = [os.open(tmp_path / str(number), os.O_CREAT | os.O_RDWR) for number in range(5)]
    ours, theirs = protocol.pair()
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        protocol.send(ours, {"text": "x" * size}, files)
        message, received = protocol.receive(theirs)
        assert len(message["text"]) == size
        assert all(same_file(one, other) for one, other in zip(files, received, strict=True))
        assert not any(os.get_inheritable(descriptor) for descriptor in received)
        protocol.close_all(received)
        assert len(os.listdir("/proc/self/fd")) == before
    protocol.close_all(files)


def test_the_end_is_none() -> None:
    ours, theirs = protocol.pair()
    ours.close()
    assert protocol.receive(theirs) is None
    theirs.close()


@pytest.mark.parametrize("data", [b"{", b"[]", b"1", b"@", b"\xff", b"[" * 50_000, b"x" * 100_000])
def test_rubbish_is_an_error_and_its_descriptors_are_closed(data: bytes) -> None:
    ours, theirs = protocol.pair()
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        socket.send_fds(ours, [data], [0, 1])
        with pytest.raises(OSError, match="not a message"):
            protocol.receive(theirs)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_may_still_change_is_not_read_as_a_message(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("{}")
    ours, theirs = protocol.pair()
    with ours, theirs, open(tmp_path / "text", "rb") as file:
        socket.send_fds(ours, [protocol.ELSEWHERE], [file.fileno()])
        with pytest.raises(OSError):
            protocol.receive(theirs)


def test_a_socket_is_private_from_its_first_moment_and_its_path_may_be_long(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 200)
    directory.mkdir()
    listener = protocol.listen(str(directory), "s")
    with listener:
        assert stat.S_IMODE((directory / "s").stat().st_mode) == 0o600
        channel = protocol.connect(str(directory), "s", 5)
        with channel:
            protocol.send(channel, {"hello": 1})
            accepted, _ = listener.accept()
            with accepted:
                assert protocol.receive(accepted) == ({"hello": 1}, [])
    with pytest.raises(ConnectionRefusedError):
        protocol.connect(str(directory), "s", 5)


def test_an_attach_client_survives_the_way_through_json() -> None:
    client = AttachClient(7, True, False, True, True, bytes(range(256)), b"\x10\xff")
    assert AttachClient.from_message(client.to_message(), 7) == client


def test_packed_descriptors_are_unpacked_by_name() -> None:
    names, descriptors = pack({"a": 4, "b": -1, "c": 5})
    assert unpack({"descriptors": names}, descriptors) == {"a": 4, "c": 5}


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], ["a", "b", "c"]])
def test_descriptors_without_matching_names_are_closed(names: list[str]) -> None:
    pair = list(os.pipe())
    with pytest.raises(ValueError, match="names"):
        unpack({"descriptors": names}, pair)
    for descriptor in pair:
        with pytest.raises(OSError):
            os.fstat(descriptor)
