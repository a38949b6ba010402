"""Clients that attach before, during and after a run."""

import socket

import pytest

from minidock.engine import attachment, lifecycle, logs
from minidock.errors import Conflict, NotFound, StartFailed
from minidock.runtime.logs import Record
from minidock.runtime.requests import AttachClient
from tests.engine.conftest import Bench


def attached(bench: Bench, identifier: str, **members: object) -> socket.socket:
    """Attach one end of a socket pair and return the other."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    client = AttachClient(descriptor=theirs.detach(), stdout=True, stderr=True, **members)  # type: ignore[arg-type]
    attachment.attach(bench.engine, identifier, client)
    return ours


def read_all(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_who_attaches_before_the_start_misses_nothing(bench: Bench) -> None:
    identifier = bench.create("echo", "hi")
    client = attached(bench, identifier)
    lifecycle.start(bench.engine, identifier)
    assert read_all(client) == b"hi\n"


def test_standard_input_reaches_the_program_with_its_end(bench: Bench) -> None:
    identifier = bench.create("cat", open_stdin=True, stdin_once=True)
    client = attached(bench, identifier, stdin=True, leftover=b"hello ")
    client.sendall(b"world")
    client.shutdown(socket.SHUT_WR)
    lifecycle.start(bench.engine, identifier)
    assert read_all(client) == b"hello world"
    assert bench.wait(identifier).status_code == 0


def test_a_failed_start_ends_the_clients_stream(bench: Bench) -> None:
    identifier = bench.create("no-such-program")
    client = attached(bench, identifier)
    with pytest.raises(StartFailed):
        lifecycle.start(bench.engine, identifier)
    assert read_all(client) == b""


def test_removing_ends_the_stream_of_who_waits_for_the_start(bench: Bench) -> None:
    identifier = bench.create("true")
    client = attached(bench, identifier)
    lifecycle.remove(bench.engine, identifier)
    assert read_all(client) == b""


def test_a_client_that_has_gone_does_not_keep_the_start(bench: Bench) -> None:
    identifier = bench.create("echo", "hi")
    attached(bench, identifier).close()
    staying = attached(bench, identifier)
    lifecycle.start(bench.engine, identifier)
    assert read_all(staying) == b"hi\n"


def test_attach_to_a_running_container_gets_what_comes(bench: Bench) -> None:
    identifier = bench.start("cat", open_stdin=True, stdin_once=True)
    client = attached(bench, identifier, stdin=True)
    client.sendall(b"now")
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"now"


def test_a_run_that_comes_and_goes_before_its_client_is_taken_over_is_told_from_the_log(bench: Bench) -> None:
    identifier = bench.create("echo", "hi")
    with logs.open_log(bench.engine, identifier, logs.Selection()) as opened:
        lifecycle.start(bench.engine, identifier)
        bench.wait(identifier)
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        told: list[Record] = []
        client = AttachClient(descriptor=theirs.detach(), stdout=True, stderr=True)
        attachment.attach_after_log(bench.engine, identifier, client, opened, told.extend)
        assert [record.text for record in told] == ["hi\n"]
        assert read_all(ours) == b""


def test_a_paused_container_refuses(bench: Bench) -> None:
    identifier = bench.start("sleep", "100")
    lifecycle.pause(bench.engine, identifier)
    with pytest.raises(Conflict, match="is paused, unpause the container before attach"):
        attachment.check_attachable(bench.engine, identifier)
    lifecycle.remove(bench.engine, identifier, force=True)


def test_the_descriptor_is_closed_when_there_is_no_container(bench: Bench) -> None:
    ours, theirs = socket.socketpair()
    with pytest.raises(NotFound):
        attachment.attach(bench.engine, "nobody", AttachClient(descriptor=theirs.detach()))
    assert read_all(ours) == b""


def test_parking_is_bounded(bench: Bench) -> None:
    identifier = bench.create("true")
    clients = [attached(bench, identifier) for _ in range(attachment.MAXIMUM_PARKED)]
    with pytest.raises(Conflict, match="too many clients"):
        attachment.check_attachable(bench.engine, identifier)
    lifecycle.remove(bench.engine, identifier)
    for client in clients:
        client.close()
