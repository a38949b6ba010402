"""The relay, driven by its loop, between two ends of the test's own."""

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from minidock.runtime.loop import Loop
from minidock.runtime.relay import Relay

PATIENCE = 10.0
MUCH = os.urandom(1 << 16) * 64


class Running:
    """A relay whose loop runs in a thread, in front of a server of the test's."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.relay = Relay(self.loop)
        self.server = socket.create_server(("127.0.0.1", 0))
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self._todo: list[Callable[[], None]] = []
        self._reading, self._writing = os.pipe()
        self.loop.watch(self._reading, 1, self._woken)
        self._stop = False
        self.relay.add(listener.detach(), self.server.getsockname())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Call `function` in the loop's thread."""
        self._todo.append(function)
        os.write(self._writing, b"x")

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Return a client's end and the server's end of one relayed connection."""
        client = socket.create_connection(self.address, PATIENCE)
        accepted, _ = self.server.accept()
        accepted.settimeout(PATIENCE)
        return client, accepted

    def close(self) -> None:
        self.call(self.relay.close)
        self.call(lambda: setattr(self, "_stop", True))
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.server.close()
        os.close(self._reading)
        os.close(self._writing)

    def _run(self) -> None:
        while not self._stop:
            self.loop.run_once(PATIENCE)

    def _woken(self, _events: int) -> None:
        os.read(self._reading, 1)
        self._todo.pop(0)()


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.close()


def read_all(channel: socket.socket) -> bytes:
    received = bytearray()
    while piece := channel.recv(1 << 16):
        received += piece
    return bytes(received)


def send_all(channel: socket.socket, data: bytes) -> threading.Thread:
    def send() -> None:
        channel.sendall(data)
        channel.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_much_goes_through_in_both_directions_at_once(running: Running) -> None:
    client, server = running.connect()
    with client, server:
        threads = [send_all(client, MUCH), send_all(server, MUCH[::-1])]
        results: list[bytes] = []
        reader = threading.Thread(target=lambda: results.append(read_all(server)))
        reader.start()
        assert read_all(client) == MUCH[::-1]
        for thread in (*threads, reader):
            thread.join(PATIENCE)
        assert results == [MUCH]


def test_an_answer_comes_after_the_end_of_the_question(running: Running) -> None:
    client, server = running.connect()
    with client, server:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"question"
        server.sendall(MUCH)
        server.close()
        assert read_all(client) == MUCH


def test_a_server_that_stops_listening_can_still_answer(running: Running) -> None:
    client, server = running.connect()
    with client, server:
        server.sendall(b"too large")
        server.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"too large"
        server.close()
        with pytest.raises(ConnectionError):
            client.sendall(MUCH * 20)  # more than all buffers on the way hold


def test_a_broken_connection_is_not_taken_for_a_finished_one(running: Running) -> None:
    client, server = running.connect()
    with client:
        client.sendall(b"unread")  # so that close(2) resets the connection
        server.recv(1, socket.MSG_PEEK)
        server.sendall(b"half an ans")
        assert client.recv(100) == b"half an ans"
        server.close()
        with pytest.raises(ConnectionResetError):
            read_all(client)


def test_a_client_that_vanishes_is_told_to_the_server(running: Running) -> None:
    client, server = running.connect()
    with server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)


def test_nobody_behind_the_port_resets_the_client(running: Running) -> None:
    running.server.close()

    def talk() -> bytes:
        with socket.create_connection(running.address, PATIENCE) as client:
            client.sendall(b"hello")
            return client.recv(1)

    with pytest.raises(ConnectionError):
        talk()
    running.server = socket.create_server(("127.0.0.1", 0))


def test_a_slow_reader_does_not_make_the_relay_spin(running: Running) -> None:
    client, server = running.connect()
    with client, server:
        thread = send_all(server, MUCH)
        rounds = 0
        original = running.loop.run_once

        def counted(timeout: float | None = None) -> None:
            nonlocal rounds
            rounds += 1
            original(timeout)

        running.loop.run_once = counted  # type: ignore[method-assign]
        threading.Event().wait(0.3)
        assert rounds < 1000
        assert read_all(client) == MUCH
        thread.join(PATIENCE)


def test_a_closed_relay_gives_the_port_free(running: Running) -> None:
    done = threading.Event()
    client, server = running.connect()
    running.call(running.relay.close)
    running.call(done.set)
    assert done.wait(PATIENCE)
    with client, server:
        assert client.recv(1) == b""
    with socket.create_server(running.address):
        pass
