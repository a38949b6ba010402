"""Image verbs: names come and go, and what is in use stays."""

import io
import tarfile
from collections.abc import Iterator

import pytest

from minidock.engine import image_views, images, lifecycle
from minidock.engine.views import Deletion
from minidock.errors import Conflict, InvalidParameter, NotFound
from tests.engine.conftest import Bench


def root_tar(token: str) -> io.BytesIO:
    """Return the tar of a root file system with one file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("token")
        entry.size = len(token)
        archive.addfile(entry, io.BytesIO(token.encode()))
    stream.seek(0)
    return stream


@pytest.fixture
def image(bench: Bench, request: pytest.FixtureRequest) -> Iterator[str]:
    identifier = images.import_root(bench.engine, root_tar(request.node.name), "thing", "one")
    yield identifier
    for name in list(bench.engine.containers):
        lifecycle.remove(bench.engine, name, force=True)
    try:
        images.remove(bench.engine, identifier, force=True)
    except NotFound:
        pass


def kinds(deletions: list[Deletion]) -> list[str]:
    return [record.untagged or "deleted" for record in deletions]


def test_an_imported_image_is_listed_and_inspected(bench: Bench, image: str) -> None:
    (line,) = [line for line in image_views.summaries(bench.engine) if line.id == image]
    assert line.repo_tags == ["thing:one"]
    found = image_views.inspect(bench.engine, "thing:one")
    assert (found.id, found.root_fs.type, len(found.root_fs.layers)) == (image, "layers", 1)
    (step,) = image_views.history(bench.engine, image[7:19])
    assert (step.id, step.tags) == (image, ["thing:one"])


def test_the_last_name_takes_the_image_along(bench: Bench, image: str) -> None:
    with bench.engine.events.subscribe(filters={"type": ["image"]}) as listener:
        images.tag(bench.engine, image, "thing", "two")
        assert kinds(images.remove(bench.engine, "thing:one")) == ["thing:one"]
        records = images.remove(bench.engine, "thing:two")
        assert [event.action for event in listener.take()] == ["tag", "untag", "untag", "delete"]
    assert kinds(records)[0] == "thing:two"
    assert Deletion(deleted=image) in records
    with pytest.raises(NotFound, match="No such image: thing:two"):
        image_views.inspect(bench.engine, "thing:two")


def test_an_id_with_two_repositories_must_be_forced(bench: Bench, image: str) -> None:
    images.tag(bench.engine, image, "other")
    short = image[7:19]
    with pytest.raises(Conflict) as caught:
        images.remove(bench.engine, short)
    assert str(caught.value) == (
        f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    )
    records = images.remove(bench.engine, short, force=True)
    assert set(kinds(records)) == {"thing:one", "other:latest", "deleted"}


def test_the_image_of_a_container_is_not_removed_by_its_name(bench: Bench, image: str) -> None:
    container = bench.create("x", image="thing:one")
    with pytest.raises(Conflict) as caught:
        images.remove(bench.engine, "thing:one")
    assert str(caught.value) == (
        'conflict: unable to remove repository reference "thing:one" (must force) - '
        f"container {container[:12]} is using its referenced image {image[7:19]}"
    )
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container"):
        images.remove(bench.engine, image)
    assert kinds(images.remove(bench.engine, "thing:one", force=True))[:2] == ["thing:one", "deleted"]


def test_a_container_outlives_its_image(bench: Bench) -> None:
    container = bench.start("sh", "-c", "while [ ! -e /end ]; do sleep 0.01; done")
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container"):
        images.remove(bench.engine, image_views.inspect(bench.engine, "hostbox").id, force=True)
    lifecycle.remove(bench.engine, container, force=True)
    stopped = bench.create("true")
    images.remove(bench.engine, "hostbox", force=True)
    lifecycle.start(bench.engine, stopped)  # its layers are still there
    assert bench.wait(stopped).status_code == 0


def test_a_name_that_moves_leaves_the_old_image_dangling(bench: Bench, image: str) -> None:
    second = images.import_root(bench.engine, root_tar("second"), "thing", "one")
    dangling = image_views.summaries(bench.engine, filters={"dangling": ["true"]})
    assert [line.id for line in dangling] == [image]
    assert dangling[0].repo_tags == []
    images.remove(bench.engine, second)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"reference": ["thing"]}, True),
        ({"reference": ["th*:o?e"]}, True),
        ({"reference": ["other"]}, False),
        ({"label": ["x"]}, False),
        ({"dangling": ["false"]}, True),
        ({"since": ["thing:one"]}, False),
        ({"until": ["1"]}, False),
    ],
)
def test_filters_choose_images(bench: Bench, image: str, filters: dict[str, list[str]], found: bool) -> None:
    assert (image in [line.id for line in image_views.summaries(bench.engine, filters=filters)]) is found


def test_bad_requests_are_refused(bench: Bench, image: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter 'colour'"):
        image_views.summaries(bench.engine, filters={"colour": ["red"]})
    with pytest.raises(InvalidParameter, match="refusing to create a tag with a digest reference"):
        images.tag(bench.engine, image, "x@" + image)
    with pytest.raises(NotFound, match="No such image: nowhere:latest"):
        images.tag(bench.engine, "nowhere", "x")
    with pytest.raises(NotFound, match="No such image: nowhere:latest"):
        images.remove(bench.engine, "nowhere")
