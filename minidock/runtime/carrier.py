"""A program's streams between its pipes or terminal, the log, and the attached clients.

Used for the container's own program and for each exec. The carrier owns our ends; the program's ends exist
only while it is being launched. pipe(2), pty(7).
"""

import contextlib
import os
from collections.abc import Callable, Iterator

from minidock.kernel import terminal
from minidock.runtime import logs
from minidock.runtime.loop import READ, Loop
from minidock.runtime.requests import AttachClient
from minidock.runtime.streams import CHUNK, STDERR, STDOUT, Client, Input

_NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class Carrier:
    """One program's streams. Typical life: attach(waiting) ..., pipes(), begin(), attach ..., end(),
    finish_clients().
    """

    def __init__(self, loop: Loop, log: logs.Writer | None, close_stdin_once: bool) -> None:
        self.clients: list[Client] = []
        self._loop = loop
        self._log = log
        self._close_stdin_once = close_stdin_once
        self._outputs: dict[int, int] = {}  # our reading ends -> stream
        self._paused = self._ending = False
        self._input: Input | None = None
        self._terminal = -1
        self._waiting: list[AttachClient] = []
        self._drained: Callable[[], None] | None = None
        self.detached: Callable[[], None] = lambda: None  # called when a client types its detach keys

    @property
    def is_open(self) -> bool:
        """True while the program, or a child of it, can still write to us."""
        return bool(self._outputs)

    @contextlib.contextmanager
    def pipes(self, with_terminal: bool, with_stdin: bool) -> Iterator[list[int]]:
        """Yield the program's descriptors 0-2 (none when it gets a terminal) and close them afterwards."""
        if with_terminal:
            yield []
            return
        theirs: list[int] = []
        try:
            if with_stdin:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                theirs.append(reading)
                self._set_input(writing)
            else:
                theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            for stream in (STDOUT, STDERR):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                theirs.append(writing)
                self._outputs[reading] = stream
            yield theirs
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def begin(self, master: int) -> None:
        """The program runs: start carrying. `master` is its terminal, or -1."""
        if master >= 0:
            self._terminal = master
            self._outputs[master] = STDOUT
            self._close_stdin_once = False  # a terminal outlives its clients: the next one types into it too
            self._set_input(os.dup(master))
        for descriptor in self._outputs:
            os.set_blocking(descriptor, False)
            self._loop.watch(descriptor, READ, lambda _events, fd=descriptor: self._carry(fd))  # type: ignore[misc]
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self.attach(request)

    def attach(self, request: AttachClient, waiting: bool = False) -> None:
        """Add a client; one that comes before the start (`waiting`) is served from `begin` on."""
        if waiting:
            self._waiting.append(request)
        else:
            self._add(request).begin()

    def attach_withheld(self, request: AttachClient) -> tuple[Client, logs.Position | None]:
        """Add a client that receives nothing before its `release`, and tell the place in the log after which
        its stream goes on.
        """
        client = self._add(request)
        client.withhold()
        client.begin()
        self._update_outputs()
        return client, None if self._log is None else self._log.position()

    def _add(self, request: AttachClient) -> Client:
        client = Client(self._loop, request, self._input, self._changed)
        self.clients.append(client)
        return client

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size in character cells; the program gets SIGWINCH. Nothing without a
        terminal.
        """
        if self._terminal >= 0:
            terminal.set_size(self._terminal, rows, columns)

    def stop_waiting(self) -> None:
        """The program is gone: take the rest of its output whatever the clients do; a pipe holds little."""
        self._ending = True
        self._update_outputs()

    def drain(self, seconds: float, drained: Callable[[], None]) -> None:
        """Take the rest as `stop_waiting` does, and call `drained` once: at the end of the output, or after
        `seconds`, since a process that left the container may hold it open for ever.
        """
        self.stop_waiting()
        self._drained = drained
        if self.is_open:
            self._loop.after(seconds, self._has_drained)
        else:
            self._has_drained()

    def end(self) -> None:
        """The program is gone: close our ends, and complete the log."""
        self._drained = None
        for descriptor in list(self._outputs):
            self._close_output(descriptor)
        if self._input is not None:
            self._input.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def abandon(self) -> None:
        """The program never started: close our ends and every client."""
        self.end()
        for request in self._waiting:
            os.close(request.descriptor)
        self._waiting.clear()
        for client in list(self.clients):
            client.close()

    def _has_drained(self) -> None:
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained()

    def finish_clients(self) -> None:
        """Let every client have what is queued for it, then the end of the stream."""
        for client in list(self.clients):
            client.finish()

    def _set_input(self, descriptor: int) -> None:
        self._input = Input(self._loop, descriptor, self._close_stdin_once, self._input_drained)

    def _input_drained(self) -> None:
        for client in self.clients:
            client.update()

    def _carry(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO is how a terminal says that nobody has its slave open any more
            data = b""
        if not data:
            self._close_output(descriptor)
            return
        stream = self._outputs[descriptor]
        if self._log is not None:
            self._log.write(_NAMES[stream], data)
        for client in list(self.clients):
            if client.wants[stream]:
                client.send(stream, data)
        self._update_outputs()

    def _changed(self, client: Client) -> None:
        if client.is_closed and client in self.clients:
            self.clients.remove(client)
            if client.has_detached:
                self.detached()
        self._update_outputs()

    def _update_outputs(self) -> None:
        """Stop reading the program while a client has too much unsent; go on when it has caught up."""
        pause = not self._ending and any(client.is_full for client in self.clients)
        if pause == self._paused:
            return
        self._paused = pause
        for descriptor in self._outputs:
            if pause:
                self._loop.forget(descriptor)
            else:
                self._loop.watch(descriptor, READ, lambda _events, fd=descriptor: self._carry(fd))  # type: ignore[misc]

    def _close_output(self, descriptor: int) -> None:
        self._loop.forget(descriptor)
        del self._outputs[descriptor]
        if descriptor == self._terminal:
            self._terminal = -1
        os.close(descriptor)
        if not self._outputs:
            self._has_drained()
