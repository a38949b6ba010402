"""nftables through libnftables: rules stay the text that nft(8) prints, and one text is one transaction.

The library is loaded when it is first needed: an engine without networks runs where it is not installed.
A context talks to the network namespace of the thread that made it. Source: libnftables(3), nft(8).
"""

import ctypes
import errno
import os
import threading
from typing import Any, Final

LIBRARY: Final = "libnftables.so.1"
NFT_CTX_OUTPUT_HANDLE: Final = 1 << 3
# The library says what went wrong in words only.
_ERRNO_BY_WORDS: Final = {
    os.strerror(number): number
    for number in (errno.EEXIST, errno.ENOENT, errno.EPERM, errno.EBUSY, errno.EACCES, errno.ENOSPC)
}


class Nftables:
    """One libnftables context; `run` may be called from any thread of the network namespace it was made in.

    OSError(ENOENT) names the library when it is not installed.
    """

    def __init__(self) -> None:
        self._library = _load()
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), "nft_ctx_new")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._lock = threading.Lock()

    def run(self, commands: str, handles: bool = False) -> str:
        """Run all of `commands` or none of them, and return what they print, with rules' handles if asked.

        OSError with the library's words; its errno is EINVAL where these name none.
        """
        with self._lock:
            self._library.nft_ctx_output_set_flags(self._context, NFT_CTX_OUTPUT_HANDLE if handles else 0)
            status = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
            output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
            problem: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if status != 0:
            raise _failure(problem.decode("utf-8", "replace"))
        return output.decode("utf-8", "replace")

    def close(self) -> None:
        """Free the context. May be called twice."""
        with self._lock:
            if self._context:
                self._library.nft_ctx_free(self._context)
                self._context = None


def _failure(words: str) -> OSError:
    first = next(iter(words.strip().splitlines()), "it does not say why")
    number = next((code for text, code in _ERRNO_BY_WORDS.items() if text in words), errno.EINVAL)
    error = OSError(number, first.partition("Error: ")[2] or first, "nftables")
    error.add_note("the library call was nft_run_cmd_from_buffer(3)")
    return error


def _load() -> Any:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        words = "the library is not installed (Debian and Ubuntu: apt-get install libnftables1)"
        raise OSError(errno.ENOENT, words, LIBRARY) from error
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("nft_ctx_new", pointer, [ctypes.c_uint32]),
        ("nft_ctx_free", None, [pointer]),
        ("nft_ctx_output_set_flags", None, [pointer, ctypes.c_uint]),
        ("nft_ctx_buffer_output", ctypes.c_int, [pointer]),
        ("nft_ctx_buffer_error", ctypes.c_int, [pointer]),
        ("nft_ctx_get_output_buffer", ctypes.c_char_p, [pointer]),
        ("nft_ctx_get_error_buffer", ctypes.c_char_p, [pointer]),
        ("nft_run_cmd_from_buffer", ctypes.c_int, [pointer, ctypes.c_char_p]),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
