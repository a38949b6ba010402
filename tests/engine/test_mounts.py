"""What `-v`, `--mount` and `--tmpfs` mean, and in which words a wrong one is refused (Docker's)."""

import pytest

from minidock.engine import mounts
from minidock.engine.model import BindOptions, DriverConfig, HostConfig, Mount, VolumeOptions
from minidock.errors import InvalidParameter, Unsupported


def test_an_absolute_source_is_a_bind_and_another_a_volume() -> None:
    bind, volume, anonymous = (
        mounts.bind(text) for text in ("/a/../b:/x/:ro,rslave", "data:/x:nocopy", "/x")
    )
    assert (bind.type, bind.source, bind.destination) == ("bind", "/b", "/x")
    assert (bind.rw, bind.propagation, bind.makes_source, bind.mode) == (False, "rslave", True, "ro,rslave")
    assert (volume.type, volume.name, volume.copies, volume.anonymous) == ("volume", "data", False, False)
    assert (anonymous.type, anonymous.name, anonymous.anonymous) == ("volume", "", True)


def test_a_mount_that_is_described_says_more_than_a_bind_can() -> None:
    options = BindOptions(non_recursive=True, propagation="shared", create_mountpoint=True)
    bind = mounts.described(Mount(type="bind", source="/a", target="/x", bind_options=options))
    assert (bind.recursive, bind.propagation, bind.makes_source) == (False, "shared", True)
    part = mounts.described(
        Mount(
            type="volume",
            source="v",
            target="/x",
            read_only=True,
            volume_options=VolumeOptions(subpath="a/./b"),
        )
    )
    assert (part.subpath, part.rw, part.copies) == ("a/b", False, False)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (HostConfig(binds=["/a:/b:ro:x"]), "invalid volume specification: '/a:/b:ro:x'"),
        (HostConfig(binds=["/x:ro"]), "invalid volume specification: '/x:ro'"),
        (HostConfig(binds=["/a:b"]), "invalid mount path: 'b' mount path must be absolute"),
        (HostConfig(binds=["/a:/x/.."]), "invalid specification: destination can't be '/'"),
        (HostConfig(binds=["/a:/b:fast"]), "invalid mode: fast"),
        (HostConfig(binds=["/a:/b:ro,rw"]), "invalid mode: ro,rw"),
        (HostConfig(binds=["/a:/b", "v:/b/"]), "Duplicate mount point: /b"),
        (HostConfig(binds=["v:/b"], tmpfs={"/b": ""}), "Duplicate mount point: /b"),
        (HostConfig(binds=["v:/b"], volume_driver="nope"), "create v: error looking up volume plugin nope"),
        (HostConfig(mounts=[Mount(type="zfs", target="/x")]), 'type "zfs": mount type unknown'),
        (HostConfig(mounts=[Mount(type="bind", target="/x")]), "field Source must not be empty"),
        (HostConfig(mounts=[Mount(type="bind", source="a", target="/x")]), "invalid mount path: 'a'"),
        (HostConfig(mounts=[Mount(type="volume", source="v")]), "field Target must not be empty"),
        (HostConfig(mounts=[Mount(type="tmpfs", source="/a", target="/x")]), "field Source must not be spec"),
        (
            HostConfig(mounts=[Mount(type="volume", target="/x", read_only=True)]),
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            HostConfig(mounts=[Mount(type="volume", source="v", target="/x", bind_options=BindOptions())]),
            "field BindOptions must not be specified",
        ),
        (
            HostConfig(
                mounts=[
                    Mount(
                        type="volume", source="v", target="/x", volume_options=VolumeOptions(subpath="../a")
                    )
                ]
            ),
            "subpath must be a relative path within the volume",
        ),
        (
            HostConfig(mounts=[Mount(type="volume", target="/x", volume_options=VolumeOptions(subpath="a"))]),
            "must not set Subpath when using anonymous volumes",
        ),
        (
            HostConfig(
                mounts=[
                    Mount(
                        type="volume",
                        source="v",
                        target="/x",
                        volume_options=VolumeOptions(driver_config=DriverConfig(name="nope")),
                    )
                ]
            ),
            'plugin "nope" not found',
        ),
        (HostConfig(tmpfs={"x": ""}), "must be absolute"),
        (HostConfig(tmpfs={"/t": "lowerdir=/"}), 'Invalid tmpfs option "lowerdir=/"'),
        (HostConfig(volumes_from=["a:b:c"]), "invalid mode: b:c"),
        (HostConfig(volumes_from=["a:nocopy"]), "invalid mode: nocopy"),
    ],
)
def test_a_bad_mount_is_refused(host: HostConfig, message: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        mounts.requested(host)
    assert message in str(raised.value)


def test_a_kind_of_mount_that_docker_has_and_we_have_not_is_named() -> None:
    with pytest.raises(Unsupported, match="image"):
        mounts.described(Mount(type="image", source="busybox", target="/x"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foo": "1"}, 'create v: invalid option: "foo"'),
        ({"type": "tmpfs"}, 'create v: missing required option: "device"'),
        ({"o": "x"}, 'create v: missing required option: "device"'),
        ({"size": "10m"}, "create v: quota size requested but no quota support"),
    ],
)
def test_options_that_the_local_driver_cannot_have_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        mounts.check_driver_options("v", options)
    assert str(raised.value) == message
    mounts.check_driver_options("v", {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
