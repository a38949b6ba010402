"""The command line's one exception: a message, and the exit code that docker gives in the same case.

125 means that the command line or the engine refused, 126 and 127 that the program could not be run, 1
anything else.
"""

from minidock.errors import MinidockError

PROGRAM = "minidock"


class Failure(MinidockError):
    """End the command: print the message, when there is one, on stderr and exit with `exit_code`."""

    def __init__(self, message: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class EngineError(Failure):
    """The engine answered with an HTTP error; `text` is its own sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"Error response from daemon: {text}")
        self.status = status
        self.text = text


class CannotConnect(Failure):
    """No engine listens at `host`."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Cannot connect to the {PROGRAM} daemon at {host}. Is the {PROGRAM} daemon running?"
        )
