"""Verbs of images: load, save, import, tag, remove; and resolve, which knows the built-in image.

The store knows names and layers; here is Docker's policy: what may be removed while containers use it, in
which words it is refused, and which events tell about it. Source: Docker's image removal rules, by behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from minidock import ids
from minidock.engine import times
from minidock.engine.containers import Container
from minidock.engine.image_model import Deletion
from minidock.errors import Conflict, InvalidParameter, NotFound
from minidock.formats.changes import apply_changes
from minidock.formats.digest import Readable
from minidock.formats.image import ExecutionConfig
from minidock.storage import hostbox
from minidock.storage import load as storage_load
from minidock.storage.save import Writable
from minidock.storage.save import save as write_archive
from minidock.storage.unpacking import Progress, Reporting

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.storage.images import Image

HOSTBOX_NAMES = (hostbox.REFERENCE, hostbox.REFERENCE.partition(":")[0])
HARD, SOFT = "cannot be forced", "must be forced"


def resolve(engine: Engine, reference: str) -> Image:
    """Return the image; `hostbox` is made from the host when it is first asked for. NotFound as Docker words
    it.
    """
    try:
        return engine.images.resolve(reference)
    except NotFound:
        if reference not in HOSTBOX_NAMES:
            raise
        return hostbox.ensure(engine.images)


def load(
    engine: Engine,
    stream: BinaryIO,
    report: Callable[[str], None],
    progress: Progress | None = None,
) -> None:
    """Load what `docker save` wrote. `report` gets each line ("Loaded image: busybox:latest\\n") as it is
    known.

    `progress` gets (short id of a layer, bytes done, bytes in all).
    """
    for name in storage_load.load(engine.images, stream, progress):
        image = engine.images.resolve(name)
        publish(engine, image, "load", image.id)
        report(f"Loaded image ID: {name}\n" if name == image.id else f"Loaded image: {name}\n")


def save(engine: Engine, references: Sequence[str], sink: Writable) -> None:
    """Write images as one archive; nothing is written if one of them is not here (NotFound)."""
    if not references:
        raise InvalidParameter("nothing to save: no image is named")
    for reference in references:
        if reference in HOSTBOX_NAMES:
            resolve(engine, reference)
    for identifier in write_archive(engine.images, references, sink):
        publish(engine, engine.images.resolve(identifier), "save", identifier)


def import_root(
    engine: Engine,
    stream: Readable,
    repository: str = "",
    tag: str = "",
    message: str = "",
    changes: Sequence[str] = (),
) -> str:
    """Make an image of a root file system's tar, named if `repository` is given; return its id.

    `changes` are Dockerfile lines that set the defaults of its containers.
    """
    reference = _reference(repository, tag) if repository else None
    config = apply_changes(ExecutionConfig(), changes)
    image = storage_load.import_root(engine.images, stream, reference, message or "Imported from -", config)
    for name in image.references if reference else ():
        publish(engine, image, "tag", name)
    publish(engine, image, "import", image.id)
    return image.id


def import_url(
    engine: Engine,
    url: str,
    reports: tuple[Callable[[str], None], Progress],
    repository: str = "",
    tag: str = "",
    message: str = "",
    changes: Sequence[str] = (),
) -> str:
    """Like `import_root`, with a tar that the engine fetches over http(s).

    `reports` get a line about it, and how far it is.
    """
    apply_changes(ExecutionConfig(), changes)
    from minidock.engine import download  # urllib3 costs the start of the daemon a third of its time

    tell, progress = reports
    with download.opened(url) as body:
        tell(f"Downloading from {url}")
        source = Reporting(body, progress, "", body.size)
        return import_root(engine, source, repository, tag, message or f"Imported from {url}", changes)


def tag(engine: Engine, reference: str, repository: str, tag: str = "") -> None:
    """Give the image one more name, moving the name if another image has it."""
    image = resolve(engine, reference)
    name = engine.images.tag(image.id, _reference(repository, tag), times.now())
    publish(engine, image, "tag", name)


def remove(engine: Engine, reference: str, force: bool = False, prune: bool = True) -> list[Deletion]:
    """Remove a name, or an image with its only name; return what was untagged and deleted, in this order.

    Conflict in Docker's words while containers or other images need it; `force` overrides the soft ones. With
    `prune`, parents that nothing names go too.
    """
    image = engine.images.resolve(reference)
    records: list[Deletion] = []
    names = [*image.references, *image.digests]
    by_id = _is_id(image, reference)
    if not by_id:
        if not force and _is_single(names) and (user := next(_users(engine, image), None)):
            raise Conflict(
                f'conflict: unable to remove repository reference "{reference}" (must force) - '
                f"container {ids.short(user.id)} is using its referenced image {ids.short(image.id)}"
            )
        _untag(engine, image, [engine.images.untag(reference)], records)
        if _other_names_stay(engine, image.id, records):
            return records
    elif _is_single(names):
        _refuse(_conflict(engine, image, force, references=False))
        _untag(engine, image, [engine.images.untag(name) for name in names], records)
    _delete(engine, engine.images.resolve(image.id), records, force, prune, quiet=not by_id)
    return records


def _delete(
    engine: Engine, image: Image, records: list[Deletion], force: bool, prune: bool, quiet: bool = False
) -> None:
    """Delete the image and, with `prune`, its unnamed parents. `quiet`: a name was removed, and that was
    enough.
    """
    conflict = _conflict(engine, image, force)
    if conflict is not None:
        if quiet:
            return
        raise conflict
    records += [Deletion(untagged=engine.images.untag(name)) for name in (*image.references, *image.digests)]
    deleted = engine.images.remove(image.id, engine.layers_in_use())
    engine.events.publish("image", "delete", image.id, {"name": image.id})  # its labels went with it
    records += [Deletion(deleted=name) for name in deleted]
    if not (prune and image.parent):
        return
    try:
        parent = engine.images.resolve(image.parent)
    except NotFound:
        return
    if not (parent.references or parent.digests):
        _delete(engine, parent, records, force=False, prune=True, quiet=True)


def _conflict(engine: Engine, image: Image, force: bool, references: bool = True) -> Conflict | None:
    """Return why the image cannot be deleted, None when it can; `force` leaves only the hard reasons."""
    if engine.images.has_children(image.id):
        return _worded(image, HARD, "image has dependent child images")
    users = list(_users(engine, image))
    for user in users:
        if user.is_running:
            return _worded(image, HARD, f"image is being used by running container {ids.short(user.id)}")
    if force:
        return None
    if references and image.references:
        return _worded(image, SOFT, "image is referenced in multiple repositories")
    if users:
        return _worded(image, SOFT, f"image is being used by stopped container {ids.short(users[0].id)}")
    return None


def _worded(image: Image, strength: str, reason: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {ids.short(image.id)} ({strength}) - {reason}")


def _refuse(conflict: Conflict | None) -> None:
    if conflict is not None:
        raise conflict


def _other_names_stay(engine: Engine, identifier: str, records: list[Deletion]) -> bool:
    """Return whether the image still has names; digests of a repository that lost its last tag go with the
    tag.
    """
    try:
        image = engine.images.resolve(identifier)
    except NotFound:  # it went with its last name
        return True
    tagged = {_repository(name) for name in image.references}
    removed = {_repository(record.untagged or "") for record in records}
    lonely = [name for name in image.digests if _repository(name) in removed - tagged]
    _untag(engine, image, [engine.images.untag(name) for name in lonely], records)
    return bool(tagged) or len(lonely) < len(image.digests)


def _untag(engine: Engine, image: Image, names: Iterable[str], records: list[Deletion]) -> None:
    for name in names:
        records.append(Deletion(untagged=name))
        publish(engine, image, "untag", image.id)


def _users(engine: Engine, image: Image) -> Iterator[Container]:
    return (container for container in list(engine.containers.values()) if container.record.image == image.id)


def _is_id(image: Image, reference: str) -> bool:
    """Return whether the user named the image by its id, or that of 2014, or the beginning of it."""
    plain = reference.removeprefix("sha256:")
    return bool(plain) and any(
        identifier.startswith(plain) for identifier in (image.id.removeprefix("sha256:"), image.old_id)
    )


def _is_single(names: Sequence[str]) -> bool:
    """Return whether all names are in one repository, with at most one tag."""
    tags = [name for name in names if "@" not in name]
    return bool(names) and len(tags) <= 1 and len({_repository(name) for name in names}) == 1


def _repository(name: str) -> str:
    name = name.partition("@")[0]
    head, separator, tail = name.rpartition(":")
    return head if separator and "/" not in tail else name


def _reference(repository: str, tag: str) -> str:
    if "@" in repository:
        raise InvalidParameter("refusing to create a tag with a digest reference")
    return f"{repository}:{tag}" if tag else repository


def publish(engine: Engine, image: Image, action: str, name: str) -> None:
    """Tell that something happened to an image; `name` is what it was called."""
    labels = image.config.execution.labels or {}
    engine.events.publish("image", action, image.id, {**labels, "name": name})
