"""Image verbs: names come and go, and what is in use stays."""

import io
import tarfile
from collections.abc import Iterator

import pytest

from minidock.engine import disk_usage, image_diff, image_views, images, lifecycle, prune
from minidock.engine.image_model import Deletion
from minidock.errors import Conflict, InvalidParameter, NotFound
from tests import seed
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


def legacy(bench: Bench, *images_of_2014: seed.OldImage) -> None:
    images.load(bench.engine, io.BytesIO(seed.archive(images_of_2014)), lambda line: None)


@pytest.fixture
def family(bench: Bench) -> Iterator[tuple[str, str]]:
    """Yield a nameless image and its child `family:child`."""
    parent, child = seed.OldImage("a1" * 6, "", 10), seed.OldImage("b2" * 6, "a1" * 6, 30, ("family:child",))
    legacy(bench, parent, child)
    yield bench.engine.images.resolve(parent.short).id, bench.engine.images.resolve(child.short).id
    for short in (child.short, parent.short):
        try:
            images.remove(bench.engine, short, force=True)
        except NotFound:
            pass


def test_a_parent_goes_with_its_last_child_unless_it_shall_stay(
    bench: Bench, family: tuple[str, str]
) -> None:
    parent, child = family
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
        images.remove(bench.engine, parent, force=True)
    deleted = [record.deleted for record in images.remove(bench.engine, child, prune=False)]
    assert child in deleted
    assert parent not in deleted
    assert bench.engine.images.resolve(parent).references == ()
    legacy(bench, seed.OldImage("a1" * 6, "", 10), seed.OldImage("b2" * 6, "a1" * 6, 30, ("family:child",)))
    deleted = [record.deleted for record in images.remove(bench.engine, "family:child")]
    assert {parent, child} <= set(deleted)


def test_saved_together_parent_and_child_are_loaded_as_such(bench: Bench, family: tuple[str, str]) -> None:
    saved = io.BytesIO()
    images.save(bench.engine, ["family:child", family[0]], saved)
    images.remove(bench.engine, "family:child")
    images.load(bench.engine, io.BytesIO(saved.getvalue()), lambda line: None)
    assert bench.engine.images.resolve("family:child").parent == family[0]


def test_the_history_names_the_parents_that_are_known(bench: Bench, family: tuple[str, str]) -> None:
    parent, child = family
    steps = image_views.history(bench.engine, "family:child")
    assert [step.id for step in steps] == [child, parent]
    assert [step.tags for step in steps] == [["family:child"], None]


def test_only_all_images_show_what_others_stand_on(bench: Bench, family: tuple[str, str]) -> None:
    listed = {line.id for line in image_views.summaries(bench.engine)}
    everything = {line.id: line for line in image_views.summaries(bench.engine, show_all=True)}
    assert family[0] not in listed
    assert set(family) <= set(everything)
    assert everything[family[1]].parent_id == family[0]
    assert everything[family[1]].old_id == seed.full("b2" * 6)


def test_a_prune_takes_the_nameless_and_only_when_told_the_named(
    bench: Bench, image: str, family: tuple[str, str]
) -> None:
    with bench.engine.events.subscribe(filters={"type": ["image"]}) as listener:
        images.import_root(bench.engine, root_tar("another"), "thing", "one")  # takes the name from `image`
        pruned = prune.prune_images(bench.engine)
        assert next(record.deleted for record in pruned.images_deleted or ()) == image
        assert pruned.space_reclaimed == len("test_a_prune_takes_the_nameless_and_only_when_told_the_named")
        assert listener.take()[-1].action == "prune"
    assert family[0] in {line.id for line in image_views.summaries(bench.engine, show_all=True)}
    assert prune.prune_images(bench.engine, {"dangling": ["false"], "label": ["none"]}).images_deleted is None
    assert (
        prune.prune_images(bench.engine, {"dangling": ["false"], "until": ["200000h"]}).images_deleted is None
    )
    bench.create("true")  # keeps its image
    records = prune.prune_images(bench.engine, {"dangling": ["false"]}).images_deleted or []
    assert {"thing:one", "family:child"} <= {record.untagged for record in records}
    assert [line.repo_tags for line in image_views.summaries(bench.engine)] == [["hostbox:latest"]]


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"foo": ["x"]}, "invalid filter 'foo'"),
        ({"dangling": ["x"]}, r"invalid filter 'dangling=\[x\]'"),
        ({"until": ["x"]}, 'failed to parse value as time or duration: "x"'),
        ({"until": ["1h", "2h"]}, "more than one until filter specified"),
    ],
)
def test_a_prune_refuses_filters_it_does_not_know(
    bench: Bench, filters: dict[str, list[str]], sentence: str
) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        prune.prune_images(bench.engine, filters)


def test_stopped_containers_are_pruned(bench: Bench) -> None:
    done = bench.create("true", labels={"keep": "no"})
    kept = bench.create("true", labels={"keep": "yes"})
    running = bench.start("sleep", "60")
    pruned = prune.prune_containers(bench.engine, {"label!": ["keep=yes"]})
    assert pruned.containers_deleted == [done]
    assert {kept, running} <= set(bench.engine.containers)
    assert prune.prune_containers(bench.engine, {"until": ["1h"]}).containers_deleted is None
    assert prune.prune_containers(bench.engine).containers_deleted == [kept]


def test_layers_of_a_removed_image_go_with_its_last_container(bench: Bench, image: str) -> None:
    (layer,) = bench.engine.images.resolve(image).chain_ids
    one, other = bench.create("x", image="thing:one"), bench.create("x", image="thing:one")
    images.remove(bench.engine, "thing:one", force=True)
    lifecycle.remove(bench.engine, one)
    assert bench.engine.layers.has(layer)
    lifecycle.remove(bench.engine, other)
    assert not bench.engine.layers.has(layer)


def test_disk_usage_counts_shared_layers_once(bench: Bench, image: str) -> None:
    images.import_root(bench.engine, root_tar("x" * 1000), "big")
    images.import_root(bench.engine, root_tar("x" * 1000), "big", "same", changes=["LABEL a=b"])
    container = bench.create("x", image="big")
    usage = disk_usage.disk_usage(bench.engine, ["image", "container"])
    found = {line.repo_tags[0]: line for line in usage.images or () if line.repo_tags}
    assert (found["big:latest"].shared_size, found["big:latest"].containers) == (1000, 1)
    assert (found["thing:one"].shared_size, found["thing:one"].containers) == (0, 0)
    assert usage.layers_size == sum(layer.size for layer in bench.engine.layers.layers())
    assert [line.id for line in usage.containers or ()] == [container]
    assert usage.volumes is None
    with pytest.raises(InvalidParameter, match="unknown object type: x"):
        disk_usage.disk_usage(bench.engine, ["x"])
    lifecycle.remove(bench.engine, container)
    for name in ("big:latest", "big:same"):
        images.remove(bench.engine, name)


def test_the_difference_of_two_images_is_one_of_files(bench: Bench) -> None:
    def make(tag: str, **files: bytes) -> None:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for path, data in files.items():
                entry = tarfile.TarInfo(path.replace("_", "/"))
                entry.size, entry.mtime = len(data), 1000
                archive.addfile(entry, io.BytesIO(data))
        stream.seek(0)
        images.import_root(bench.engine, stream, "differ", tag)

    make("old", a_same=b"1", a_other=b"1", gone_x=b"1", gone_y=b"1", kind=b"1")
    make("new", a_same=b"1", a_other=b"2", a_new=b"1", kind_now=b"1")
    found = [
        (each.kind, each.path) for each in image_diff.difference(bench.engine, "differ:old", "differ:new")
    ]
    assert found == [
        (0, "/a"),
        (1, "/a/new"),
        (0, "/a/other"),
        (2, "/gone"),
        (0, "/kind"),
        (1, "/kind/now"),
    ]
    assert list(image_diff.difference(bench.engine, "differ:old", "differ:old")) == []
    for tag in ("old", "new"):
        images.remove(bench.engine, f"differ:{tag}")


def test_an_import_takes_changes_and_tells_of_its_name(bench: Bench) -> None:
    changes = ['CMD ["a", "b"]', "ENV x=1", "LABEL l=$x"]
    with bench.engine.events.subscribe(filters={"type": ["image"]}) as listener:
        images.import_root(bench.engine, root_tar("y"), "changed", changes=changes)
        assert [event.action for event in listener.take()] == ["tag", "import"]
    config = image_views.inspect(bench.engine, "changed").config
    assert (config.cmd, config.env, config.labels) == (["a", "b"], ["x=1"], {"l": "1"})
    images.remove(bench.engine, "changed")
    with pytest.raises(InvalidParameter, match="run is not a valid change command"):
        images.import_root(bench.engine, root_tar("y"), "changed", changes=["RUN x"])
