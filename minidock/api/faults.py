"""The one table from an error's class to its HTTP status, and the shape in which the client reads it.

From API 1.24 an error is JSON `{"message": ...}`; older clients print the body as it is, so they get plain
text. A few words have changed since; a client whose API version is from before reads them as they were, for
scripts and libraries of its day look for them.
"""

import h11

from minidock import errors
from minidock.api.exchange import PLAIN, ApiVersion, Reply, TooLarge, json_reply
from minidock.api.negotiation import JSON_ERRORS_SINCE

STATUS_BY_CLASS: tuple[tuple[type[Exception], int], ...] = (
    (errors.InvalidParameter, 400),
    (errors.Unauthorized, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.NotModified, 304),
    (errors.Unsupported, 501),
    (errors.Unavailable, 503),
    (errors.DigestMismatch, 400),
    (TooLarge, 413),
    (TimeoutError, 408),
)

CANNOT_EXECUTE = (126, 127)
REMOVAL_WORDS_SINCE: ApiVersion = (1, 44)


def status_of(error: Exception) -> int:
    """Return the HTTP status that an error means; 500 for whatever is the engine's own fault."""
    if isinstance(error, errors.StartFailed):
        # Docker answers 400 when the program is missing or not executable, and the CLI reads its own exit
        # code from the text.
        return 400 if error.exit_code in CANNOT_EXECUTE else 500
    if isinstance(error, h11.RemoteProtocolError):
        return error.error_status_hint
    return next((status for kind, status in STATUS_BY_CLASS if isinstance(error, kind)), 500)


def error_reply(error: Exception, version: ApiVersion) -> Reply:
    """Return the answer that tells the client about `error`."""
    status = status_of(error)
    if status == 304:
        return Reply(status)
    message = _words(error, version)
    if version < JSON_ERRORS_SINCE:
        return Reply(status, message.encode("utf-8", "replace") + b"\n", PLAIN)
    return json_reply({"message": message}, status)


def _words(error: Exception, version: ApiVersion) -> str:
    if isinstance(error, errors.NotStopped) and version < REMOVAL_WORDS_SINCE:
        stop = "Unpause and then stop" if error.status == "paused" else "Stop"
        return (
            f"You cannot remove a {error.status} container {error.identifier}. "
            f"{stop} the container before attempting removal or force remove"
        )
    return str(error) or type(error).__name__
