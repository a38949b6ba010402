"""The errors that cross layers: each class is one kind of answer that a user can get.

`kernel` raises OSError; every other layer raises one of these. The API turns the class into an HTTP status in
one table, so a class here must mean the same thing wherever it is raised. Messages read as Docker's do.
"""


class MinidockError(Exception):
    """Any failure that has a message for the user. Raised bare, it is the engine's own fault (HTTP 500)."""


class InvalidParameter(MinidockError):
    """The request itself is wrong: bad name, bad JSON, unknown flag value (HTTP 400)."""


class Unauthorized(MinidockError):
    """Credentials are missing or wrong (HTTP 401)."""


class Forbidden(MinidockError):
    """The request is understood and refused on principle (HTTP 403)."""


class NotFound(MinidockError):
    """No such image, container, volume or network (HTTP 404)."""


class Conflict(MinidockError):
    """The object's present state or name does not allow the request (HTTP 409)."""


class NotStopped(Conflict):
    """A container is not removed without force: `status` is running, paused or restarting (HTTP 409)."""

    def __init__(self, message: str, identifier: str, status: str) -> None:
        super().__init__(message)
        self.identifier = identifier
        self.status = status


class NotModified(MinidockError):
    """The object is already in the state that was asked for (HTTP 304, a success to the CLI)."""


class Unsupported(MinidockError):
    """A documented Docker feature that this engine does not serve (HTTP 501); the message names it."""


class Unavailable(MinidockError):
    """A service that the request needs is not there (HTTP 503)."""


class StartFailed(MinidockError):
    """The container could not be started (HTTP 400, 404 or 500 by cause, as Docker words it).

    `exit_code` is what `docker run` will exit with: 127 not found, 126 not executable, 125 otherwise; 128 is
    recorded in the container's state for set-up errors, as Docker does.
    """

    def __init__(self, message: str, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DigestMismatch(MinidockError):
    """Bytes do not hash to the digest that names them, or have another size (HTTP 400)."""


class Damaged(MinidockError):
    """A file of ours on disk cannot be understood; the message names the file (HTTP 500)."""
