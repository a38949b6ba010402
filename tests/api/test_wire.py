"""Docker's JSON against the engine's structs."""

import inspect as introspection
from typing import Any

import msgspec
import pytest

from minidock.api.wire import from_wire, to_wire, wire_name
from minidock.engine import image_model, model, views
from minidock.engine.model import ContainerConfig, HostConfig, NetworkingConfig
from minidock.errors import InvalidParameter


def test_names_that_follow_the_rule_and_names_that_do_not() -> None:
    expected = {
        "working_dir": "WorkingDir",
        "ip_address": "IPAddress",
        "container_id_file": "ContainerIDFile",
        "blkio_device_read_iops": "BlkioDeviceReadIOps",
        "link_local_ips": "LinkLocalIPs",
        "uts_mode": "UTSMode",
    }
    assert {name: wire_name(name) for name in expected} == expected


PAIRS = [
    (model.ContainerConfig, "ContainerConfig"),
    (model.HostConfig, "HostConfig"),
    (model.Healthcheck, "HealthConfig"),
    (model.Mount, "Mount"),
    (model.EndpointConfig, "EndpointSettings"),
    (model.EndpointIPAMConfig, "EndpointIPAMConfig"),
    (model.PortBinding, "PortBinding"),
    (model.DeviceMapping, "DeviceMapping"),
    (model.DeviceRequest, "DeviceRequest"),
    (model.RestartPolicy, "RestartPolicy"),
    (views.State, "ContainerState"),
    (views.MountPoint, "MountPoint"),
    (views.NetworkSettings, "NetworkSettings"),
    (views.ContainerInspection, "ContainerInspectResponse"),
    (views.ContainerSummary, "ContainerSummary"),
    (image_model.ImageSummary, "ImageSummary"),
    (image_model.ImageInspection, "ImageInspect"),
    (views.Event, "EventMessage"),
    (views.Actor, "EventActor"),
    (views.Info, "SystemInfo"),
    (views.Port, "Port"),
    (image_model.Deletion, "ImageDeleteResponseItem"),
]

# Fields that today's schema no longer documents, but that clients still send or read.
BEYOND_THE_SCHEMA = {
    "ArgsEscaped",
    "CpuCount",
    "CpuPercent",
    "IOMaximumIOps",
    "IOMaximumBandwidth",
    "Cgroup",
    "KernelMemory",
    "Author",
    "Parent",
    "Comment",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "IndexServerAddress",
    "NoProxy",
    "OldID",  # ours alone: what an archive of 2014 called an image
    "Platform",
    "DockerVersion",
    "Container",
    "HostConfig",
    "OOMKilled",
    "Size",
    "Isolation",
    "Warnings",
}


@pytest.mark.parametrize(("struct", "name"), PAIRS, ids=[name for _, name in PAIRS])
def test_every_field_has_the_spelling_of_the_schema(
    struct: type[msgspec.Struct], name: str, schema: Any
) -> None:
    documented = set(schema.properties(name))
    ours = {wire_name(field, struct.__name__) for field in struct.__struct_fields__}
    assert ours - documented - BEYOND_THE_SCHEMA == set()


def test_the_check_of_spellings_can_fail(schema: Any) -> None:
    assert "CPUShares" not in schema.properties("HostConfig")


def test_what_goes_out_comes_back() -> None:
    config = HostConfig(cpu_shares=5, sysctls={"net.x": "1"}, mounts=[model.Mount(type="tmpfs", target="/t")])
    again, unknown = from_wire(HostConfig, to_wire(config))
    assert again == config
    assert unknown == []


def test_keys_of_maps_are_the_users_and_stay() -> None:
    config, _ = from_wire(ContainerConfig, {"Labels": {"Some.Label": "x"}, "ExposedPorts": {"80/tcp": {}}})
    assert to_wire(config)["Labels"] == {"Some.Label": "x"}
    assert to_wire(config)["ExposedPorts"] == {"80/tcp": {}}


def test_null_is_not_given_and_case_does_not_matter() -> None:
    config, unknown = from_wire(ContainerConfig, {"image": "busybox", "Env": None, "CMD": "date"})
    assert (config.image, config.env, config.cmd) == ("busybox", None, ["date"])
    assert unknown == []


def test_unknown_fields_are_reported_with_their_place() -> None:
    document = {
        "Binds": None,
        "Nonsense": 1,
        "LogConfig": {"Type": "json-file", "Colour": "red"},
        "Absent": None,
    }
    _, unknown = from_wire(HostConfig, document, "HostConfig")
    assert sorted(unknown) == ["HostConfig.LogConfig.Colour", "HostConfig.Nonsense"]


def test_a_stray_null_network_of_docker_py_is_no_unknown_field() -> None:
    _, unknown = from_wire(NetworkingConfig, {"bridge": None}, "NetworkingConfig")
    assert unknown == []


@pytest.mark.parametrize(
    ("kind", "document", "field"),
    [
        (HostConfig, {"Memory": "64m"}, "HostConfig.Memory"),
        (HostConfig, {"Memory": 1.5}, "HostConfig.Memory"),
        (HostConfig, {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}, "HostPort"),
        (HostConfig, {"Ulimits": [{"Name": "x", "Soft": "1"}]}, "HostConfig.Ulimits[0].Soft"),
        (ContainerConfig, {"Env": "A=B"}, "Env"),
        (ContainerConfig, {"Tty": 1}, "Tty"),
        (ContainerConfig, {"Labels": ["x"]}, "Labels"),
        (HostConfig, {"OomKillDisable": "yes"}, "HostConfig.OomKillDisable"),
        (HostConfig, [], "HostConfig"),
    ],
)
def test_a_wrong_type_is_refused_with_dockers_name_for_the_field(
    kind: Any, document: Any, field: str
) -> None:
    with pytest.raises(InvalidParameter, match="invalid JSON") as caught:
        from_wire(kind, document, "HostConfig" if kind is HostConfig else "")
    assert field in str(caught.value)


def test_none_is_left_out_where_docker_leaves_it_out_and_null_elsewhere() -> None:
    document = to_wire(ContainerConfig())
    assert "Healthcheck" not in document
    assert document["Cmd"] is None


def test_every_view_can_be_written() -> None:
    structs = [kind for _, kind in introspection.getmembers(views, introspection.isclass)]
    names = [wire_name(f, kind.__name__) for kind in structs for f in getattr(kind, "__struct_fields__", ())]
    assert names
    assert not [name for name in names if "_" in name]
