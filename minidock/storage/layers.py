"""Unpacked layers, one directory per ChainID, and the overlay that stacks them.

A layer is unpacked once, whatever image brings it. It is made in a temporary directory, `syncfs` once, and
renamed to its ChainID: so a directory with that name is a whole layer, and everything else is swept when the
store opens (design.md section 4).

    layers/<64 hex of the ChainID>/diff/        the tree, whiteouts in overlayfs' form
    layers/<64 hex of the ChainID>/layer.json   what `Layer` says
    layers/l/<26 letters>                       short link to diff/: 128 of them fit one page of mount options
    layers/l/EMPTY0, layers/l/EMPTY1            empty: overlayfs wants two layers when nothing is writable
"""

import base64
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

from minidock.atomic import sync_directory, to_json, write_state
from minidock.errors import DigestMismatch, MinidockError, NotFound
from minidock.formats.digest import ChainID, DiffID, HashingReader, Readable, chain_id, encoded, is_digest
from minidock.paths import Paths
from minidock.storage.archive import extract
from minidock.storage.lowers import LowerLayers
from minidock.storage.overlay import Stack, mount_overlay
from minidock.storage.pins import Pin, Pins
from minidock.storage.trees import remove_tree
from minidock.storage.writeback import sync_file_system

RECORD = "layer.json"
TREE = "diff"
LINKS = "l"
EMPTY = ("EMPTY0", "EMPTY1")
TEMPORARY_PREFIX = "tmp-"
DAMAGED_PREFIX = "damaged-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Layer:
    """One unpacked layer; `parent` is "" for a lowest one, `size` the bytes of its files, `entries` those
    of its tar."""

    chain_id: ChainID
    diff_id: DiffID
    parent: ChainID
    size: int
    entries: int


@dataclass(frozen=True)
class Staged:
    """A layer that is unpacked in a temporary directory and not yet in the store."""

    layer: Layer
    directory: str


class LayerStore:
    """All unpacked layers of one engine; safe for many threads."""

    def __init__(self, paths: Paths, pins: Pins | None = None) -> None:
        self.root = paths.layers
        self.problems: list[str] = []
        self._pins = pins or Pins()
        self._layers: dict[ChainID, Layer] = {}
        for name in (LINKS, *(os.path.join(LINKS, empty) for empty in EMPTY)):
            os.makedirs(os.path.join(self.root, name), mode=0o755, exist_ok=True)
        os.chmod(self.root, 0o700)  # setuid programs in layers are nobody's to run from here
        self._open()

    def layer(self, chain_id: ChainID) -> Layer:
        """Return a layer's record; NotFound if it is not here."""
        try:
            return self._layers[chain_id]
        except KeyError:
            raise NotFound(f"layer {chain_id} not found") from None

    def layers(self) -> list[Layer]:
        """Return the records of all layers."""
        with self._pins.lock:
            return list(self._layers.values())

    def has(self, chain_id: ChainID, pin: Pin | None = None) -> bool:
        """Tell whether the layer is here; if so, `pin` holds it from now on."""
        with self._pins.lock:
            present = chain_id in self._layers
            if present and pin is not None:
                pin.add(chain_id)
            return present

    def diff_directory(self, chain_id: ChainID) -> str:
        """Return the absolute path of the tree of this one layer."""
        return os.path.join(self.root, encoded(self.layer(chain_id).chain_id), TREE)

    def empty_directory(self) -> str:
        """Return the absolute path of an empty tree, for an image that has no layer."""
        return os.path.join(self.root, LINKS, EMPTY[0])

    @contextmanager
    def pinned(self, chain_ids: Iterable[ChainID]) -> Iterator[None]:
        """Keep layers from any sweep for the duration of a block; NotFound if one is not here."""
        with self._pins.hold() as pin:
            for identifier in chain_ids:
                if not self.has(identifier, pin):
                    raise NotFound(f"layer {identifier} not found")
            yield

    def unpack(self, stream: Readable, diff_id: DiffID | None, parent_chain_id: ChainID = "") -> ChainID:
        """Unpack an uncompressed tar as a layer above `parent_chain_id` ("" for none) and return its
        ChainID.

        Raises DigestMismatch if the tar is not `diff_id` (None: whatever it is), and leaves nothing behind
        on any error.
        """
        with self._pins.hold() as pin:
            if parent_chain_id and not self.has(parent_chain_id, pin):
                raise NotFound(f"layer {parent_chain_id} not found")
            parents = self.lineage(parent_chain_id)
            with self.stage(
                stream, diff_id, parent_chain_id, [self.diff_directory(each) for each in parents]
            ) as staged:
                self.sync()
                self.commit([staged], pin)
            return staged.layer.chain_id

    @contextmanager
    def stage(
        self,
        stream: Readable,
        diff_id: DiffID | None,
        parent: ChainID,
        lowers: Sequence[str],
        is_verified: bool = False,
    ) -> Iterator[Staged]:
        """Unpack a layer above the trees `lowers` (topmost first) into a temporary directory, removed if
        nobody commits it.

        Raises DigestMismatch if the tar is not `diff_id`; `is_verified`: the caller has just hashed it.
        """
        temporary = os.path.join(self.root, TEMPORARY_PREFIX + secrets.token_hex(8))
        tree = os.path.join(temporary, TREE)
        os.mkdir(temporary, 0o700)
        try:
            os.mkdir(tree, 0o755)
            layer = self._fill(tree, stream, diff_id, parent, lowers, is_verified)
            write_state(os.path.join(temporary, RECORD), to_json(asdict(layer)))
            yield Staged(layer, temporary)
        finally:
            remove_tree(temporary)

    def sync(self) -> None:
        """Make all that was staged durable, at once."""
        sync_file_system(self.root)

    def commit(self, staged: Sequence[Staged], pin: Pin) -> None:
        """Take synced layers into the store, lowest first; one that is there already (another thread was
        faster) is dropped."""
        with self._pins.lock:
            for each in staged:
                identifier = each.layer.chain_id
                if identifier not in self._layers:
                    self._link(identifier)
                    os.rename(each.directory, os.path.join(self.root, encoded(identifier)))
                    self._layers[identifier] = each.layer
                    pin.bring(identifier)
                pin.add(identifier)
            sync_directory(os.path.join(self.root, LINKS))
            sync_directory(self.root)

    def lineage(self, chain_id: ChainID) -> list[ChainID]:
        """Return a layer and all those below it, topmost first; a missing one ends the list."""
        found = []
        while chain_id in self._layers:
            found.append(chain_id)
            chain_id = self._layers[chain_id].parent
        return found

    def overlay(
        self,
        chain_ids: Iterable[ChainID],
        upper: str | None = None,
        work: str | None = None,
        volatile: bool = False,
        above: Sequence[str] = (),
    ) -> int:
        """Return a descriptor of a detached overlay of layers, lowest first; read-only without `upper`.

        `above` are further directories, absolute paths, topmost first, between the layers and `upper`.
        `upper` and `work` are empty or formerly used directories on one file system. `volatile` leaves out
        every sync: for what is thrown away. The mount lives as long as the descriptor or what it is attached
        to.
        """
        return mount_overlay(self.stack(chain_ids, upper, work, volatile, above))

    def stack(
        self,
        chain_ids: Iterable[ChainID],
        upper: str | None = None,
        work: str | None = None,
        volatile: bool = False,
        above: Sequence[str] = (),
    ) -> Stack:
        """Return what `overlay` mounts."""
        names = [os.path.join(LINKS, link_name(self.layer(identifier).chain_id)) for identifier in chain_ids]
        names.reverse()
        names[:0] = [os.path.relpath(path, self.root) for path in above]
        wanted = 1 if upper is not None else 2
        names += [os.path.join(LINKS, empty) for empty in EMPTY][: max(0, wanted - len(names))]
        return Stack(self.root, names, upper, work, volatile)

    def sweep(self, needed: Iterable[ChainID], among: Iterable[ChainID] | None = None) -> list[ChainID]:
        """Remove layers that are neither needed nor pinned, all such or only those `among` the given.

        What lies below a layer that stays, stays too. Returns the ChainIDs of the removed, topmost first.
        """
        with self._pins.lock:
            candidates = set(self._layers if among is None else among).difference(needed)
            staying = [each for each in self._layers if each not in candidates or self._pins.is_held(each)]
            keep = {below for each in staying for below in self.lineage(each)}
            doomed = [each for each in self._layers if each not in keep]
            doomed.sort(key=lambda identifier: len(self.lineage(identifier)), reverse=True)
            trash = [self._discard(identifier) for identifier in doomed]
        for path in trash:
            remove_tree(path)
        return doomed

    def _discard(self, chain_id: ChainID) -> str:
        """Take a layer out of the store in one step; return the directory that remains to be removed."""
        trash = os.path.join(self.root, TEMPORARY_PREFIX + secrets.token_hex(8))
        os.rename(os.path.join(self.root, encoded(chain_id)), trash)
        os.unlink(os.path.join(self.root, LINKS, link_name(chain_id)))
        del self._layers[chain_id]
        return trash

    def _fill(
        self,
        tree: str,
        stream: Readable,
        diff_id: DiffID | None,
        parent: ChainID,
        lowers: Sequence[str],
        is_verified: bool,
    ) -> Layer:
        reader = HashingReader(stream)
        with ExitStack() as opened:
            fds = []
            for path in (tree, *lowers):
                fds.append(os.open(path, _DIRECTORY))
                opened.callback(os.close, fds[-1])
            unpacked = extract(stream if is_verified else reader, fds[0], LowerLayers(fds[1:]))
        found = diff_id if is_verified and diff_id is not None else reader.digest
        if diff_id is not None and found != diff_id:
            raise DigestMismatch(f"layer has DiffID {found}, but the image config says {diff_id}")
        return Layer(chain_id(parent, found), found, parent, unpacked.size, unpacked.entries)

    def _link(self, chain_id: ChainID) -> None:
        target = os.path.join("..", encoded(chain_id), TREE)
        link = os.path.join(self.root, LINKS, link_name(chain_id))
        try:
            os.symlink(target, link)
        except FileExistsError:
            if os.readlink(link) != target:
                raise MinidockError(f"two layers want the short link {link}") from None

    def _open(self) -> None:
        """Read all records; remove what an interrupted work left, and set aside what cannot be read."""
        for name in os.listdir(self.root):
            path = os.path.join(self.root, name)
            identifier = f"sha256:{name}"
            if name.startswith(TEMPORARY_PREFIX):
                remove_tree(path)
            elif is_digest(identifier):
                try:
                    with open(os.path.join(path, RECORD), "rb") as file:
                        layer = Layer(**json.load(file))
                    if chain_id(layer.parent, layer.diff_id) != identifier or not os.path.isdir(
                        os.path.join(path, TREE)
                    ):
                        raise ValueError("it describes another layer")
                except (OSError, ValueError, TypeError) as error:
                    aside = os.path.join(self.root, f"{DAMAGED_PREFIX}{name}-{secrets.token_hex(4)}")
                    os.rename(path, aside)
                    self.problems.append(f"damaged layer {identifier} set aside as {aside}: {error}")
                else:
                    self._layers[identifier] = layer
                    self._link(identifier)


def link_name(chain_id: ChainID) -> str:
    """Return the 26 letters that stand for a layer in mount options: the first 128 bits of its ChainID."""
    return base64.b32encode(bytes.fromhex(encoded(chain_id))[:16]).decode().rstrip("=")
