"""Networks of the user: made, joined, left, isolated from each other, and removed."""

import json
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from minidock.formats import dns
from tests.network.conftest import HOST, NEIGHBOUR, Engine, ask, refused


@pytest.fixture
def name(engine: Engine) -> Any:
    chosen = f"net-{uuid.uuid4().hex[:8]}"
    yield chosen
    for container in engine.client.get("/containers/json?all=1").json:
        engine.remove(container["Id"])
    for network in engine.client.get("/networks").json:
        if network["Name"].startswith(chosen):
            assert engine.client.delete(f"/networks/{network['Id']}").status == 204


def create(engine: Engine, name: str, **members: Any) -> Any:
    return engine.client.post("/networks/create", {"Name": name, **members})


def query(name: str, kind: int = dns.A) -> bytes:
    return b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0" + dns.encode_name(name) + bytes([0, kind, 0, 1])


def resolve(engine: Engine, container: str, name: str, kind: int = dns.A) -> tuple[int, bytes]:
    """Return the code and the whole answer of the container's name server."""

    def talk() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(10)
            channel.connect(("127.0.0.11", 53))
            channel.send(query(name, kind))
            return channel.recv(4096)

    answer = engine.lan.inside(engine.pid(container), talk)
    return answer[3] & 15, answer


def test_a_network_shows_what_was_asked_for(engine: Engine, name: str) -> None:
    config = [{"Subnet": "10.66.0.0/24", "IPRange": "10.66.0.128/25", "Gateway": "10.66.0.9"}]
    made = create(engine, name, IPAM={"Config": config}, Labels={"a": "b"}, Internal=True)
    assert made.status == 201
    shown = engine.client.get(f"/networks/{name}").json
    assert shown["IPAM"]["Config"] == config
    assert (shown["Labels"], shown["Internal"], shown["Driver"]) == ({"a": "b"}, True, "bridge")
    assert "10.66.0.9/24" in engine.lan.on_host("ip", "addr")
    one = engine.run(network=name)
    assert engine.settings(one)["Networks"][name]["IPAddress"] == "10.66.0.128"


@pytest.mark.parametrize(
    ("members", "status", "words"),
    [
        ({"Name": "bridge"}, 403, "operation is not permitted on predefined bridge network"),
        ({"Name": "a/b"}, 400, "invalid characters"),
        ({"Name": ""}, 400, "name is empty"),
        ({"Name": "x", "Driver": "macvlan"}, 501, "macvlan"),
        ({"Name": "x", "Driver": "magic"}, 404, 'plugin "magic" not found'),
        ({"Name": "x", "Driver": "host"}, 403, "only one instance"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.1/24"}]}}, 400, "it should be 10.0.0.0/24"),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.1.0.1"}]}},
            400,
            "invalid network config:\ninvalid gateway 10.1.0.1: "
            "parent subnet 10.0.0.0/24 doesn't contain this address",
        ),
        (
            {
                "Name": "x",
                "IPAM": {
                    "Config": [
                        {
                            "Subnet": "10.0.0.0/24",
                            "IPRange": "10.1.0.5/16",
                            "AuxiliaryAddresses": {"h": "::1"},
                        }
                    ]
                },
            },
            400,
            "* invalid ip-range 10.1.0.5/16: CIDR block is bigger than its parent subnet 10.0.0.0/24\n"
            "* invalid ip-range 10.1.0.5/16: it should be 10.1.0.0/16\n"
            "* invalid ip-range 10.1.0.5/16: parent subnet 10.0.0.0/24 doesn't contain ip-range\n"
            "* invalid auxiliary address h: parent subnet is an IPv4 block",
        ),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.300/24"}]}},
            400,
            "invalid CIDR block notation",
        ),
        ({"Name": "x", "IPAM": {"Config": [{"Gateway": "10.0.0.3"}]}}, 400, "invalid subnet : invalid CIDR"),
        ({"Name": "x", "Options": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}}, 501, "routed"),
        ({"Name": "x", "Options": {"com.docker.network.bridge.enable_icc": "perhaps"}}, 400, "perhaps"),
        ({"Name": "x", "Options": {"magic": "1"}}, 501, "magic"),
    ],
)
def test_what_cannot_be_is_refused(engine: Engine, members: dict[str, Any], status: int, words: str) -> None:
    before = engine.lan.on_host("ip", "-br", "link")
    answer = engine.client.post("/networks/create", members)
    assert answer.status == status
    assert words in answer.message
    assert engine.lan.on_host("ip", "-br", "link") == before


def test_names_and_subnets_do_not_meet_twice(engine: Engine, name: str) -> None:
    assert create(engine, name, IPAM={"Config": [{"Subnet": "10.67.0.0/16"}]}).status == 201
    assert create(engine, name).status == 409
    overlapping = create(engine, f"{name}-2", IPAM={"Config": [{"Subnet": "10.67.1.0/24"}]})
    assert overlapping.status == 403
    assert "Pool overlaps with other one on this address space" in overlapping.message


def test_networks_are_isolated_until_a_container_is_in_both(engine: Engine, name: str) -> None:
    create(engine, name)
    create(engine, f"{name}-2")
    one, other = engine.run(network=name), engine.run(network=f"{name}-2")
    address = engine.settings(one)["Networks"][name]["IPAddress"]
    with engine.serve(one, 80, b"joined"):
        assert engine.lan.inside(engine.pid(other), lambda: refused(address, 80))
        joined = engine.client.post(f"/networks/{name}/connect", {"Container": other})
        assert joined.status == 200, joined.body
        assert engine.lan.inside(engine.pid(other), lambda: ask(address, 80)) == b"joined"
        assert set(engine.settings(other)["Networks"]) == {name, f"{name}-2"}
        left = engine.client.post(f"/networks/{name}/disconnect", {"Container": other})
        assert left.status == 200, left.body
        assert engine.lan.inside(engine.pid(other), lambda: refused(address, 80))
    assert engine.lan.inside(engine.pid(other), lambda: len(socket.if_nameindex())) == 2


def test_a_network_with_containers_is_not_removed(engine: Engine, name: str) -> None:
    create(engine, name)
    one = engine.run(network=name)
    answer = engine.client.delete(f"/networks/{name}")
    assert answer.status == 403
    assert f"network {name} has active endpoints" in answer.message
    assert engine.client.delete("/networks/bridge").message == (
        "bridge is a pre-defined network and cannot be removed"
    )
    engine.remove(one)


def test_without_icc_containers_reach_only_what_is_published(engine: Engine, name: str) -> None:
    create(engine, name, Options={"com.docker.network.bridge.enable_icc": "false"})
    one = engine.run(network=name, PortBindings={"81/tcp": [{"HostPort": "8091"}]})
    other = engine.run(network=name)
    address = engine.settings(one)["Networks"][name]["IPAddress"]
    with engine.serve(one, 80, b"hidden"), engine.serve(one, 81, b"published"):
        assert engine.lan.inside(engine.pid(other), lambda: refused(address, 80))
        assert engine.lan.inside(engine.pid(other), lambda: ask(HOST, 8091)) == b"published"
        assert engine.lan.host(lambda: ask(address, 80)) == b"hidden"


def test_interfaces_are_called_as_asked(engine: Engine, name: str) -> None:
    create(engine, name, Options={"com.docker.network.container_iface_prefix": "net"})
    create(engine, f"{name}-2")
    options = {
        "com.docker.network.endpoint.ifname": "second",
        "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1",
    }
    one = engine.run(network=name, EndpointsConfig={name: {}, f"{name}-2": {"DriverOpts": options}})
    names = {found for _, found in engine.lan.inside(engine.pid(one), socket.if_nameindex)}
    assert names == {"lo", "net0", "second"}
    path = Path("/proc/sys/net/ipv4/conf/second/log_martians")
    assert engine.lan.inside(engine.pid(one), path.read_text) == "1\n"
    taken = {"com.docker.network.endpoint.ifname": "second"}
    asked = {"Container": one, "EndpointConfig": {"DriverOpts": taken}}
    answer = engine.client.post("/networks/bridge/connect", asked)
    assert (answer.status, answer.message) == (409, "the container has an interface second already")


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"magic": "1"}, 501, "endpoint option magic is not supported"),
        ({"com.docker.network.endpoint.ifname": "a/b"}, 400, "invalid value"),
        ({"com.docker.network.endpoint.sysctls": "kernel.core_pattern=x"}, 400, "unrecognised network"),
        ({"com.docker.network.endpoint.sysctls": "net.ipv4.conf.all.forwarding=1"}, 400, "unrecognised"),
    ],
)
def test_an_endpoint_option_that_cannot_be_is_refused(
    engine: Engine, options: dict[str, str], status: int, words: str
) -> None:
    body = {"Image": "minidock-network-test:latest", "Cmd": ["true"]}
    endpoints = {"EndpointsConfig": {"bridge": {"DriverOpts": options}}}
    answer = engine.client.post("/containers/create", {**body, "NetworkingConfig": endpoints})
    assert (answer.status, words in answer.message) == (status, True), answer.body


def test_a_bridge_can_be_left_without_an_address(engine: Engine, name: str) -> None:
    options = {"com.docker.network.bridge.inhibit_ipv4": "true", "com.docker.network.bridge.name": "br-bare"}
    create(engine, name, Options=options)
    assert "inet " not in engine.lan.on_host("ip", "addr", "show", "br-bare")


def test_an_internal_network_has_no_way_out(engine: Engine, name: str) -> None:
    create(engine, name, Internal=True)
    one, other = engine.run(network=name), engine.run(network=name)
    address = engine.settings(one)["Networks"][name]["IPAddress"]
    listener = engine.lan.neighbour(lambda: socket.create_server((NEIGHBOUR, 7002)))
    with listener, engine.serve(one, 80, b"inside"):
        assert engine.lan.inside(engine.pid(other), lambda: refused(NEIGHBOUR, 7002))
        assert engine.lan.inside(engine.pid(other), lambda: ask(address, 80)) == b"inside"


def test_addresses_can_be_chosen_and_are_not_given_twice(engine: Engine, name: str) -> None:
    create(engine, name, IPAM={"Config": [{"Subnet": "10.68.0.0/24"}]})
    asked = {name: {"IPAMConfig": {"IPv4Address": "10.68.0.77"}}}
    one = engine.run(network=name, EndpointsConfig=asked)
    assert engine.settings(one)["Networks"][name]["IPAddress"] == "10.68.0.77"
    body = {"Image": "minidock-network-test:latest", "Cmd": ["true"], "HostConfig": {"NetworkMode": name}}
    body["NetworkingConfig"] = {"EndpointsConfig": asked}
    second = engine.client.post("/containers/create", body).json["Id"]
    assert engine.client.post(f"/containers/{second}/start").message == "Address already in use"


def test_containers_know_each_other_by_name_alias_and_short_id(engine: Engine, name: str) -> None:
    create(engine, name)
    one = engine.run(network=name, EndpointsConfig={name: {"Aliases": ["db"]}})
    other = engine.run(network=name)
    settings = engine.settings(one)["Networks"][name]
    packed = socket.inet_aton(settings["IPAddress"])
    container = engine.client.inspect(one)["Name"].lstrip("/")
    for known in (container, "db", "DB", one[:12], f"db.{name}"):
        code, answer = resolve(engine, other, known)
        assert (code, packed in answer) == (0, True), known
    code, answer = resolve(engine, other, "db", dns.AAAA)
    assert (code, answer[6:8]) == (0, b"\0\0")  # the name is there, an IPv6 address of it is not
    backwards = ".".join(reversed(settings["IPAddress"].split("."))) + ".in-addr.arpa"
    assert dns.encode_name(f"{container}.{name}") in resolve(engine, other, backwards, dns.PTR)[1]
    text = Path(f"/proc/{engine.pid(other)}/root/etc/resolv.conf").read_text()
    assert "nameserver 127.0.0.11\n" in text


def test_a_container_of_another_network_has_no_name_here(engine: Engine, name: str) -> None:
    create(engine, name, Internal=True)
    create(engine, f"{name}-2", Internal=True)
    engine.run(network=name, EndpointsConfig={name: {"Aliases": ["hidden"]}})
    other = engine.run(network=f"{name}-2")
    assert resolve(engine, other, "hidden")[0] == dns.SERVFAIL


def test_a_program_may_have_port_53_for_itself(engine: Engine, name: str) -> None:
    create(engine, name)
    one = engine.run(network=name, EndpointsConfig={name: {"Aliases": ["self"]}})

    def bind() -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("0.0.0.0", 53))
        return bound

    with engine.lan.inside(engine.pid(one), bind):
        assert resolve(engine, one, "self")[0] == 0


def test_published_ports_follow_the_network_that_leads_out(engine: Engine, name: str) -> None:
    create(engine, name)
    one = engine.run(network=name, PortBindings={"80/tcp": [{"HostPort": "8090"}]})
    with engine.serve(one, 80, b"moved"):
        engine.client.post("/networks/bridge/connect", {"Container": one})
        assert engine.lan.neighbour(lambda: ask(HOST, 8090)) == b"moved"
        engine.client.post(f"/networks/{name}/disconnect", {"Container": one})
        assert engine.lan.neighbour(lambda: ask(HOST, 8090)) == b"moved"
        assert engine.lan.host(lambda: ask("127.0.0.1", 8090)) == b"moved"
        engine.client.post("/networks/bridge/disconnect", {"Container": one})
        assert engine.lan.neighbour(lambda: refused(HOST, 8090))
        assert "elements" not in engine.elements("published4-any")


def way_out(engine: Engine, container: str) -> str:
    """Return the gateway of the container's default route, as its own kernel table has it."""
    table = Path(f"/proc/{engine.pid(container)}/net/route").read_text().splitlines()[1:]
    (gateway,) = [words[2] for words in map(str.split, table) if words[1] == "00000000"]
    return socket.inet_ntoa(bytes.fromhex(gateway)[::-1])


def test_the_way_out_is_the_network_of_the_highest_priority_then_the_first_by_name(
    engine: Engine, name: str
) -> None:
    first, second, third = (f"{name}-{letter}" for letter in "abc")
    for one in (first, second, third):
        create(engine, one)

    def gateway(container: str, network: str) -> str:
        return str(engine.settings(container)["Networks"][network]["Gateway"])

    by_name = engine.run(network=second, EndpointsConfig={second: {}, first: {}})
    assert way_out(engine, by_name) == gateway(by_name, first)
    asked = engine.run(network=first, EndpointsConfig={first: {}, second: {"GwPriority": 2}})
    assert way_out(engine, asked) == gateway(asked, second)
    assert engine.settings(asked)["Networks"][second]["GwPriority"] == 2
    higher = {"Container": asked, "EndpointConfig": {"GwPriority": 3}}
    engine.client.post(f"/networks/{third}/connect", higher)
    assert way_out(engine, asked) == gateway(asked, third)
    engine.client.post(f"/networks/{third}/disconnect", {"Container": asked})
    assert way_out(engine, asked) == gateway(asked, second)
    lower = {"Container": asked, "EndpointConfig": {"GwPriority": -1}}
    engine.client.post(f"/networks/{third}/connect", lower)
    assert way_out(engine, asked) == gateway(asked, second)


def test_ipv6_is_there_when_asked_for(engine: Engine, name: str) -> None:
    create(engine, name, EnableIPv6=True)
    one, other = engine.run(network=name), engine.run(network=name)
    address = engine.settings(one)["Networks"][name]["GlobalIPv6Address"]
    listener = engine.lan.inside(
        engine.pid(one), lambda: socket.create_server(("::", 80), family=socket.AF_INET6)
    )
    peer = engine.lan.inside(engine.pid(other), lambda: socket.create_connection((address, 80), 3))
    listener.close()
    peer.close()


def test_a_pool_that_is_exhausted_says_so_and_recovers(engine: Engine, name: str) -> None:
    create(engine, name, IPAM={"Config": [{"Subnet": "10.69.0.0/30"}]})
    one = engine.run(network=name)
    body = {"Image": "minidock-network-test:latest", "Cmd": ["true"], "HostConfig": {"NetworkMode": name}}
    second = engine.client.post("/containers/create", body).json["Id"]
    for _ in range(3):
        answer = engine.client.post(f"/containers/{second}/start")
        assert answer.message == "no available IPv4 addresses on this network's address pools"
    engine.remove(one)
    assert engine.client.post(f"/containers/{second}/start").status == 204


def test_connections_are_forgotten_with_their_container(engine: Engine, name: str) -> None:
    """What the kernel remembers of an address must not lead to its next owner."""
    create(engine, name)
    one = engine.run(network=name, PortBindings={"53/udp": [{"HostPort": "8092"}]})
    address = engine.settings(one)["Networks"][name]["IPAddress"]

    def talk() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"hello", (HOST, 8092))

    engine.lan.neighbour(talk)
    tracked = Path("/proc/thread-self/net/nf_conntrack")
    if not tracked.exists():
        pytest.skip("this kernel does not list its connections in /proc")
    assert address in engine.lan.host(tracked.read_text)
    engine.remove(one)
    assert address not in engine.lan.host(tracked.read_text)


def test_prune_removes_what_no_container_names(engine: Engine, name: str) -> None:
    create(engine, name)
    create(engine, f"{name}-2")
    one = engine.run(network=name)
    assert engine.client.post("/networks/prune").json["NetworksDeleted"] == [f"{name}-2"]
    assert engine.client.post("/networks/prune").json == {"NetworksDeleted": None}
    engine.remove(one)


def test_networks_are_listed_by_filters(engine: Engine, name: str) -> None:
    create(engine, name, Labels={"colour": "red"})

    def listed(**filters: list[str]) -> set[str]:
        answer = engine.client.get(f"/networks?filters={json.dumps(filters, separators=(',', ':'))}")
        return {network["Name"] for network in answer.json}

    assert listed(label=["colour=red"]) == {name}
    assert listed(type=["builtin"]) == {"bridge", "host", "none"}
    assert listed(name=[name], driver=["bridge"]) == {name}
    assert engine.client.get('/networks?filters={"x":["y"]}').status == 400


def test_a_link_gives_names_and_variables(engine: Engine, name: str) -> None:
    one = engine.run(ExposedPorts={"5432/tcp": {}}, Env=["SECRET=7"])
    script = "cat /etc/hosts; echo $DB_PORT_5432_TCP_ADDR $DB_ENV_SECRET"
    other = engine.run("sh", "-c", script, Links=[f"{one[:12]}:db"])
    engine.client.post(f"/containers/{other}/wait")
    text = engine.client.get(f"/containers/{other}/logs?stdout=1").body.decode("latin-1")
    address = engine.settings(one)["IPAddress"]
    assert f"{address}\tdb " in text
    assert f"{address} 7" in text
    refused_link = {"Image": "minidock-network-test:latest", "HostConfig": {"Links": ["nobody:x"]}}
    answer = engine.client.post("/containers/create", refused_link)
    assert (answer.status, "could not get container for nobody" in answer.message) == (400, True)
