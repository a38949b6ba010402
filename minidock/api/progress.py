"""The stream of JSON messages by which long image operations tell how far they are.

Before its first message a failure is an ordinary error with a real status; after it, the status is spent,
and the error is one more message inside a 200 (engine-api.md 2.5).
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from minidock.api.exchange import JSON, Exchange, Stream
from minidock.errors import MinidockError

INTERVAL = 0.1  # seconds between two messages about one thing: more would be work without a reader


class Progress:
    """Sends messages; the answer begins with the first of them."""

    def __init__(self, exchange: Exchange, stack: contextlib.ExitStack) -> None:
        self._exchange = exchange
        self._stack = stack
        self._stream: Stream | None = None

    @property
    def begun(self) -> bool:
        """Whether the status has been sent."""
        return self._stream is not None

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        if self._stream is None:
            self._stream = self._stack.enter_context(self._exchange.stream(JSON))
        self._stream.write_json(message)

    def bar(self, status: str) -> Callable[[str, int, int], None]:
        """Return a function that sends how far something is: its id, the bytes done and in all (0: unknown).

        Some of its calls send nothing, but the last one, when all is done, always does.
        """
        due: dict[str, float] = {}

        def tell(identifier: str, done: int, total: int) -> None:
            now = time.monotonic()
            if done == total or now >= due.get(identifier, 0):
                due[identifier] = now + INTERVAL
                detail = {"current": done, **({"total": total} if total else {})}
                name = {"id": identifier} if identifier else {}
                self.send({"status": status, "progressDetail": detail, **name})

        return tell


@contextlib.contextmanager
def progress(exchange: Exchange, errors_as_messages: bool = False) -> Iterator[Progress]:
    """Answer with messages; an error of the block becomes a status or, too late for that, a last message.

    With `errors_as_messages` it never becomes a status, as clients of `load` expect. A block that sends
    nothing still answers 200 with an empty body.
    """
    with contextlib.ExitStack() as stack:
        messages = Progress(exchange, stack)
        try:
            yield messages
        except MinidockError as error:
            if not messages.begun and not errors_as_messages:
                raise
            text = str(error)
            messages.send({"errorDetail": {"message": text}, "error": text})
        if not messages.begun:
            stack.enter_context(exchange.stream(JSON))
