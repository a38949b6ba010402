"""minidock.runtime.streams and carrier: bytes between a program and its clients, whatever the clients do."""

import itertools
import os
import random
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import StartFailed
from minidock.kernel import process, terminal
from minidock.runtime.requests import AttachClient
from minidock.runtime.streams import HIGH_WATER, Escape

KEYS = b"\x10\x11"


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(borders)]


def filtered(keys: bytes, pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    escape, passed = Escape(keys), b""
    for piece in pieces:
        out, detached = escape.filter(piece)
        passed += out
        if detached:
            return passed, True, b""
    return passed, False, escape.rest()


keys_and_data = st.tuples(
    st.lists(st.sampled_from(b"\x10\x11ab"), max_size=4).map(bytes),
    st.lists(st.sampled_from(b"\x10\x11abcd"), max_size=40).map(bytes),
    st.lists(st.integers(0, 40), max_size=6),
)


@given(keys_and_data)
def test_how_input_is_cut_into_pieces_does_not_matter(drawn: tuple[bytes, bytes, list[int]]) -> None:
    keys, data, cuts = drawn
    assert filtered(keys, pieces_of(data, cuts)) == filtered(keys, [data])


@given(keys_and_data)
def test_without_a_detach_every_byte_is_passed_on(drawn: tuple[bytes, bytes, list[int]]) -> None:
    keys, data, cuts = drawn
    passed, detached, held = filtered(keys, pieces_of(data, cuts))
    if detached:
        assert data.startswith(passed + keys)
    else:
        assert passed + held == data
        assert (
            not keys or keys not in data or keys[:1] in keys[1:]
        )  # a key that repeats may hide the sequence


def test_the_usual_detach_sequence_is_found_after_a_false_start() -> None:
    assert filtered(KEYS, [b"a\x10", b"\x10", b"\x11never"]) == (b"a\x10", True, b"")


def test_the_program_gets_what_a_client_sends_and_its_end(bench) -> None:
    assert bench.run(bench.spec("cat"), stdin=b"hello").out == "hello"


def test_a_client_that_only_closes_its_writing_side_still_reads(bench) -> None:
    ended = bench.run(bench.shell("cat; sleep 0.3; echo after"), stdin=b"x\n")
    assert ended.out == "x\nafter\n"


@pytest.mark.parametrize("framed", [True, False])
def test_eight_mebibytes_go_through_cat_byte_for_byte(bench, framed: bool) -> None:
    data = random.Random(8).randbytes(8 << 20)
    client = bench.make_peer(framed=framed, stdin=True)
    running = bench.launch(bench.spec("cat"), client, stdin="once")
    client.send(data)
    client.half_close()
    assert client.wait().streams()[1] == data
    assert client.error is None
    assert running.wait().code == 0


def test_what_the_client_sent_with_its_request_comes_first(bench) -> None:
    client = bench.make_peer(framed=False, stdin=True)
    early = bytes(range(256)) * 400
    client.client = AttachClient(client.client.descriptor, True, True, True, leftover=early)
    bench.launch(bench.spec("cat"), client, stdin="once")
    client.send(b"later")
    client.half_close()
    assert bytes(client.wait().data) == early + b"later"


def test_stdout_and_stderr_are_told_apart_and_can_be_declined(bench) -> None:
    both, only_errors = bench.make_peer(), bench.make_peer(stdout=False)
    bench.launch(bench.shell("echo out; echo err >&2"), both, only_errors)
    assert both.wait().streams() == {1: b"out\n", 2: b"err\n"}
    assert only_errors.wait().streams() == {1: b"", 2: b"err\n"}


def test_two_clients_see_the_same_and_both_type(bench) -> None:
    one, two = bench.make_peer(framed=False, stdin=True), bench.make_peer(framed=False, stdin=True)
    bench.launch(bench.spec("cat"), one, two, stdin="keep")
    one.send(b"one\n")
    two.wait_for(b"one\n")
    two.send(b"two\n")
    one.wait_for(b"two\n")


def test_with_stdin_once_the_first_end_of_input_is_the_last(bench) -> None:
    one, two = bench.make_peer(framed=False, stdin=True), bench.make_peer(framed=False, stdin=True)
    running = bench.launch(bench.spec("cat"), one, two, stdin="once")
    one.half_close()
    assert running.event("exit")["exit_code"] == 0


def test_with_stdin_kept_a_client_may_end_its_input_and_another_follows(bench) -> None:
    one = bench.make_peer(framed=False, stdin=True)
    running = bench.launch(bench.shell("read a; read b; echo $a $b"), one, stdin="keep")
    one.send(b"first\n")
    one.half_close()
    two = running.attach(framed=False, stdin=True)
    two.send(b"second\n")
    two.wait_for(b"first second\n")


def test_input_of_a_client_that_has_gone_is_not_lost(bench, tmp_path) -> None:
    """`cat big | docker run -i` killed at its end: the program is slow, the client already closed."""
    spec = bench.shell("sleep 0.5; wc -c")
    client = bench.make_peer(stdin=True, stdout=False, stderr=False)
    running = bench.launch(spec, client, stdin="once")
    client.send(b"x" * 4_000_000)
    client.close()
    running.event("exit")
    assert [record.text for record in bench.log(running)] == ["4000000\n"]


def test_input_of_a_client_that_reads_no_more_is_not_lost(bench) -> None:
    spec = bench.shell("n=0; while read x; do echo $x; n=$((n+1)); done; echo total $n >&2")
    client = bench.make_peer(reading=False, stdin=True)
    running = bench.launch(spec, client, stdin="once")
    client.socket.shutdown(socket.SHUT_RD)
    client.send(b"line\n" * 2000)
    client.half_close()
    running.event("exit")
    assert bench.log(running)[-1].text == "total 2000\n"


def test_a_program_that_does_not_read_ends_cleanly_for_a_client_that_writes(bench) -> None:
    """The client's unread input must not turn the end of the stream into a reset."""
    client = bench.make_peer(framed=False, stdin=True)
    running = bench.launch(bench.shell("sleep 0.2; echo bye"), client, stdin="once")
    client.send(b"unread" * 5000)
    running.event("exit")
    client.wait()
    assert (bytes(client.data), client.error) == (b"bye\n", None)


def test_yes_as_input_ends_with_its_reader(bench) -> None:
    client = bench.make_peer(framed=False, stdin=True)
    running = bench.launch(bench.spec("head", "-n", "1"), client, stdin="once")
    with pytest.raises(OSError):
        client.send(b"y\n" * 80_000_000)
    assert running.event("exit")["exit_code"] == 0
    assert (bytes(client.wait().data), client.error) == (b"y\n", None)


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_slow_client_holds_the_program_up_and_loses_nothing(bench) -> None:
    size = 24 << 20
    slow = bench.make_peer(reading=False)
    fast = bench.make_peer()
    running = bench.launch(bench.spec("head", "-c", str(size), "/dev/zero"), slow, fast)
    before = resident(running.shim.shim_pid)
    reached = -1
    while len(fast.data) != reached or reached == 0:  # until the fast one is held up too
        reached = len(fast.data)
        time.sleep(0.3)
    assert reached < 6 * HIGH_WATER
    assert resident(running.shim.shim_pid) - before < 8 * HIGH_WATER
    assert not process.has_exited(running.shim.pidfd)
    slow.start_reading()
    for client in (slow, fast):
        assert len(client.wait().streams()[1]) == size
    assert running.event("exit")["exit_code"] == 0


def test_a_slow_client_that_leaves_sets_the_program_free(bench) -> None:
    slow, fast = bench.make_peer(reading=False), bench.make_peer()
    running = bench.launch(bench.spec("head", "-c", "9000000", "/dev/zero"), slow, fast)
    time.sleep(0.3)
    slow.close()
    assert len(fast.wait().streams()[1]) == 9_000_000
    assert running.event("exit")["exit_code"] == 0


@pytest.mark.parametrize("pieces", [[b"ab\x10\x11never"], [b"ab", b"\x10", b"\x11"]])
def test_the_detach_keys_end_the_client_and_not_the_program(bench, pieces: list[bytes]) -> None:
    client = bench.make_peer(framed=False, stdin=True, detach_keys=KEYS)
    running = bench.launch(bench.spec("cat"), client, stdin="once")
    for piece in pieces:
        client.send(piece)
        time.sleep(0.05)
    client.wait()
    again = running.attach(framed=False, stdin=True)
    again.send(b"still there")
    again.half_close()
    running.event("exit")
    assert "".join(record.text for record in bench.log(running)) == "abstill there"


def test_detach_keys_sent_with_the_request_detach_at_once(bench) -> None:
    client = bench.make_peer(framed=False, stdin=True)
    client.client = AttachClient(client.client.descriptor, True, True, True, leftover=KEYS, detach_keys=KEYS)
    running = bench.launch(bench.spec("sleep", "1000"), client, stdin="once")
    client.wait()
    os.kill(running.pid, 9)
    running.event("exit")
    running.wait_for_shim()  # and not only after its patience with clients


def test_a_broken_off_detach_sequence_at_the_end_is_input(bench) -> None:
    client = bench.make_peer(framed=False, stdin=True, detach_keys=KEYS)
    bench.launch(bench.spec("cat"), client, stdin="once")
    client.send(b"x\x10")
    client.half_close()
    assert bytes(client.wait().data) == b"x\x10"


def test_a_terminal_has_the_size_that_was_asked_for_and_can_be_resized(bench) -> None:
    client = bench.make_peer(framed=False, stdin=True)
    script = "stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"
    spec = bench.shell(script, process_terminal=True, process_consoleSize={"height": 33, "width": 77})
    running = bench.launch(spec, client, stdin="once")
    assert client.wait_for(b"ready").startswith(b"33 77\r\n")
    running.shim.resize(10, 20)
    client.wait_for(b"10 20\r\n")
    assert running.event("exit")["exit_code"] == 0


def test_the_terminal_is_devpts_0_of_the_container_and_its_console(bench) -> None:
    client = bench.make_peer(framed=False)
    script = "tty; ls -l /dev/console | cut -c1; stat -c '%t:%T %u' /dev/console; ls /dev/pts"
    bench.launch(bench.shell(script, process_terminal=True), client)
    assert bytes(client.wait().data).split() == [b"/dev/pts/0", b"c", b"88:0", b"0", b"0", b"ptmx"]


@pytest.mark.parametrize("init", [False, True])
def test_control_c_interrupts_the_program_once(bench, init: bool) -> None:
    client = bench.make_peer(framed=False, stdin=True)
    script = "n=0; trap 'n=$((n+1)); echo got $n' INT; echo ready; for i in $(seq 12); do sleep 0.1; done"
    running = bench.launch(bench.shell(script, process_terminal=True), client, stdin="once", init=init)
    client.wait_for(b"ready")
    client.send(b"\x03")
    client.wait_for(b"got 1")
    running.event("exit")
    assert b"got 2" not in client.data


def test_a_terminal_is_controlling_so_that_job_control_works(bench) -> None:
    client = bench.make_peer(framed=False, stdin=True)
    bench.launch(bench.shell("sh -ic 'sleep 0 & wait; echo job >/dev/tty'", process_terminal=True), client)
    assert b"job" in client.wait().data
    assert b"can't access tty" not in client.data


def test_a_terminal_needs_a_devpts(bench) -> None:
    spec = bench.shell("true", process_terminal=True)
    spec["mounts"] = [entry for entry in spec["mounts"] if entry["destination"] != "/dev/pts"]
    with pytest.raises(StartFailed, match="open the terminal"):
        bench.run(spec)


def test_the_clients_own_terminal_is_never_the_programs(bench) -> None:
    master = terminal.open_pty("/dev/ptmx")
    slave = terminal.peer(master)
    running = bench.launch(bench.spec("sleep", "1000", process_terminal=True))
    assert os.readlink(f"/proc/{running.pid}/fd/0") == "/dev/pts/0"
    assert os.fstat(slave).st_rdev != 0
    with open(f"/proc/{running.pid}/stat", encoding="ascii") as file:
        number = int(file.read().rpartition(")")[2].split()[4])
    assert os.major(number) == 136
    os.close(slave)
    os.close(master)


@pytest.mark.soak(200)
def test_many_clients_are_all_served(bench) -> None:
    clients = [bench.make_peer(framed=False) for _ in range(120)]
    first = clients[0]
    first.client = AttachClient(first.client.descriptor, True, True, True)
    running = bench.launch(bench.shell("read x; echo $x"), *clients, stdin="keep")
    later = [running.attach(framed=False) for _ in range(80)]
    first.send(b"everybody\n")
    running.event("exit")
    for client in [*clients, *later]:
        assert bytes(client.wait().data) == b"everybody\n"


def test_something_that_is_no_socket_is_refused_as_a_client(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"))
    before = len(os.listdir(f"/proc/{running.shim.shim_pid}/fd"))
    with open("/dev/null", "rb") as file, pytest.raises(StartFailed):
        running.shim.attach(AttachClient(file.fileno(), stdout=True))
    assert len(os.listdir(f"/proc/{running.shim.shim_pid}/fd")) == before
