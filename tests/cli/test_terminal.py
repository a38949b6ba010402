import os
import termios

import pytest

from minidock.cli.failure import Failure
from minidock.cli.terminal import DEFAULT_DETACH_KEYS, DetachKeys, key_sequence, raw_mode, window_size


def test_key_names_become_bytes() -> None:
    assert key_sequence(DEFAULT_DETACH_KEYS) == b"\x10\x11"
    assert key_sequence("ctrl-a,b,ctrl-@,ctrl-],DEL") == b"\x01b\x00\x1d\x7f"
    with pytest.raises(Failure, match="invalid detach keys"):
        key_sequence("ctrl-")


@pytest.mark.parametrize("cut", range(6))
def test_the_sequence_is_found_however_it_arrives(cut: int) -> None:
    keys, data = DetachKeys(b"\x10\x11"), b"ab\x10\x11"
    first, detached = keys.feed(data[:cut])
    second, later = keys.feed(data[cut:]) if not detached else (b"", True)
    assert (first + second, later) == (b"ab", True)


def test_a_beginning_that_leads_nowhere_is_passed_on() -> None:
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"\x10") == (b"", False)
    assert keys.feed(b"x") == (b"\x10x", False)
    assert keys.feed(b"\x10\x10\x11") == (b"\x10", True)


def test_raw_mode_is_undone() -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    with raw_mode(slave):
        assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_what_is_no_terminal_has_no_size_and_no_raw_mode() -> None:
    reader, writer = os.pipe()
    assert window_size(reader) == (0, 0)
    with raw_mode(reader):
        pass
    os.close(reader)
    os.close(writer)
