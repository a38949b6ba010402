"""The difference between two images: what lies in one tree and not, or otherwise, in the other.

"The difference between two Docker images is just a diff of the files they contain." Both stacks are read
without mounting them (`minidock.storage.union`), so a file that both take from one layer is one inode and
needs no look inside. Listed as `docker diff` does it: a directory with changes below is changed itself, of
what was removed only the top.
"""

from __future__ import annotations

import heapq
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from minidock.engine.diff import ADDED, DELETED, MODIFIED
from minidock.engine.images import resolve
from minidock.engine.views import Change
from minidock.storage.union import Entry, Union

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.storage.images import Image

CHUNK = 1 << 20


def difference(engine: Engine, old: str, new: str) -> Generator[Change, None, None]:
    """Yield what makes image `new` of image `old`, in the order of the paths."""
    images = resolve(engine, old), resolve(engine, new)
    layers = {chain_id for image in images for chain_id in image.chain_ids}
    with (
        engine.layers.pinned(layers),
        _union(engine, images[0]) as before,
        _union(engine, images[1]) as after,
    ):
        yield from compare(before, after)


def compare(before: Union, after: Union) -> Iterator[Change]:
    """Compare two trees, both walked in the same order."""
    removed = ""  # the directory whose removal has been listed: what was in it goes without saying
    listed: list[str] = []  # the names on the way to what was listed last: these have been listed too
    for path, old, new in _pairs(before.walk(), after.walk()):
        if old is None:
            kind = ADDED
        elif new is None:
            if removed and path.startswith(removed):
                continue
            kind, removed = DELETED, f"{path}/"
        elif not _is_same(before, old, after, new):
            kind = MODIFIED
        else:
            continue
        if not path:
            continue  # the root itself is never listed
        names = path.split("/")
        for depth in range(_in_common(listed, names) + 1, len(names)):
            yield Change(path="/" + "/".join(names[:depth]), kind=MODIFIED)
        yield Change(path=f"/{path}", kind=kind)
        listed = names


def _in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many names two paths begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _union(engine: Engine, image: Image) -> Union:
    trees = [engine.layers.diff_directory(chain_id) for chain_id in reversed(image.chain_ids)]
    return Union(trees or [engine.layers.empty_directory()])


def _pairs(
    before: Iterable[Entry], after: Iterable[Entry]
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Bring the entries of both trees together by their paths."""
    marked = heapq.merge(
        ((entry.path.split("/"), 0, entry) for entry in before),
        ((entry.path.split("/"), 1, entry) for entry in after),
        key=lambda item: item[:2],
    )
    waiting: Entry | None = None
    for _, side, entry in marked:
        if waiting is not None and side == 1 and waiting.path == entry.path:
            yield entry.path, waiting, entry
            waiting = None
            continue
        if waiting is not None:
            yield waiting.path, waiting, None
        waiting = entry if side == 0 else None
        if side == 1:
            yield entry.path, None, entry
    if waiting is not None:
        yield waiting.path, waiting, None


def _is_same(before: Union, old: Entry, after: Union, new: Entry) -> bool:
    """Tell whether two entries are the same file in every respect; a directory's time does not count."""
    one, other = old.status, new.status
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return True
    if (one.st_mode, one.st_uid, one.st_gid, one.st_rdev) != (
        other.st_mode,
        other.st_uid,
        other.st_gid,
        other.st_rdev,
    ):
        return False
    if before.xattrs(old) != after.xattrs(new):
        return False
    if old.is_directory:
        return True
    if (one.st_size, one.st_mtime_ns) != (other.st_size, other.st_mtime_ns):
        return False
    if stat.S_ISLNK(one.st_mode):
        return before.link(old) == after.link(new)
    return not stat.S_ISREG(one.st_mode) or _is_same_content(before, old, after, new)


def _is_same_content(before: Union, old: Entry, after: Union, new: Entry) -> bool:
    """Compare two files of one size byte by byte: where builds set all times alike, these prove nothing."""
    with before.open(old) as one, after.open(new) as other:
        while data := one.read(CHUNK):
            if data != other.read(CHUNK):
                return False
        return True
