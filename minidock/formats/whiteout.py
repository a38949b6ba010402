"""Whiteouts: how a layer, which can only add files, says that something below it is gone.

In a layer's tar a file `.wh.NAME` hides NAME of the layers below, and `.wh..wh..opq` hides everything below
in its directory (the names are aufs'). overlayfs says the same with a character device 0:0 called NAME and
with the attribute `trusted.overlay.opaque=y`. Both act on *lower* layers only, never on files of the same
layer. OCI image-spec, layer.md ("Whiteouts"); Linux Documentation/filesystems/overlayfs.rst ("whiteouts and
opaque directories").
"""

from dataclasses import dataclass

from minidock.errors import InvalidParameter

PREFIX = ".wh."
OPAQUE = ".wh..wh..opq"
META_PREFIX = ".wh..wh."

OVERLAY_DEVICE = (0, 0)
OVERLAY_OPAQUE_XATTR = "trusted.overlay.opaque"
OVERLAY_OPAQUE_VALUE = b"y"


@dataclass(frozen=True)
class Whiteout:
    """What a `.wh.` name means: `hides` is the hidden name, "" for everything in the directory (opaque)."""

    hides: str

    @property
    def is_opaque(self) -> bool:
        return not self.hides


def parse_whiteout(name: str) -> Whiteout | None:
    """Read the last component of a path in a layer; None if it is an ordinary name.

    Raises InvalidParameter for what would hide the directory itself or its parent (`.wh.`, `.wh..`,
    `.wh...`), and for aufs' own housekeeping names other than the opaque mark; at the top of a layer the
    unpacker expects those and never asks.
    """
    if not name.startswith(PREFIX):
        return None
    if name == OPAQUE:
        return Whiteout("")
    hidden = name.removeprefix(PREFIX)
    if hidden in {"", ".", ".."} or name.startswith(META_PREFIX):
        raise InvalidParameter(f"invalid whiteout file {name!r} in layer")
    return Whiteout(hidden)


def format_whiteout(hidden: str) -> str:
    """Return the name in a layer that hides `hidden` below it ("" for the opaque mark).

    Raises InvalidParameter for a name that would itself read as a whiteout: a layer has no way to say it.
    """
    if not hidden:
        return OPAQUE
    if hidden.startswith(PREFIX) or hidden in {".", ".."} or "/" in hidden:
        raise InvalidParameter(f"a layer cannot hide a file called {hidden!r}")
    return PREFIX + hidden
