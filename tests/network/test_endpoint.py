"""Namespaces, bridges and veth pairs, seen from both ends."""

import errno
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from minidock.errors import Conflict
from minidock.network import bridge, endpoint, links, namespaces
from minidock.network.endpoint import Interface

pytestmark = pytest.mark.usefixtures("own_namespace")
BRIDGE = bridge.Bridge("br-test", "/data", ["10.5.0.1/24"])
FIRST = Interface("eth0", "veth-a", "br-test", "02:42:0a:05:00:02", ["10.5.0.2/24"], gateways=["10.5.0.1"])


def names() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def make_bridge() -> None:
    with bridge.host_locked():
        bridge.ensure(BRIDGE)


def test_a_namespace_is_made_without_leaving_ones_own() -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    descriptor = namespaces.create()
    assert os.stat("/proc/thread-self/ns/net").st_ino == before
    assert os.fstat(descriptor).st_ino == namespaces.inside(
        descriptor, lambda: os.stat("/proc/thread-self/ns/net").st_ino
    )
    assert os.fstat(descriptor).st_ino != before
    os.close(descriptor)


def test_the_loopback_of_a_new_namespace_carries() -> None:
    def talk() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            return server.accept()[0].getsockname()[0].encode()

    descriptor = namespaces.create()
    assert namespaces.inside(descriptor, talk) == b"127.0.0.1"
    os.close(descriptor)


def test_an_error_inside_reaches_the_caller_and_the_thread_is_gone() -> None:
    descriptor = namespaces.create()
    with pytest.raises(ZeroDivisionError):
        namespaces.inside(descriptor, lambda: 1 // 0)
    os.close(descriptor)
    assert not [thread for thread in threading.enumerate() if "namespace" in thread.name]


def test_an_endpoint_has_its_address_its_route_and_its_place_on_the_bridge() -> None:
    make_bridge()
    descriptor = namespaces.create()
    endpoint.plug(descriptor, FIRST)

    def look() -> tuple[list[str], str, str]:
        with links.talking() as route:
            (index,) = route.link_lookup(ifname="eth0")
            (default,) = route.get_default_routes(family=links.AF_INET)
            mac = route.get_links(index)[0].get_attr("IFLA_ADDRESS")
            return links.addresses_of(route, index), default.get_attr("RTA_GATEWAY"), mac

    assert namespaces.inside(descriptor, look) == (["10.5.0.2/24"], "10.5.0.1", FIRST.mac)
    with links.talking() as route:
        found = links.find(route, "br-test")
        assert found is not None
        assert [port.name for port in links.members(route, found.index)] == ["veth-a"]
    os.close(descriptor)


def test_the_gateway_keeps_its_link_address_while_containers_come_and_go() -> None:
    make_bridge()

    def address() -> str:
        with links.talking() as route:
            (index,) = route.link_lookup(ifname="br-test")
            return str(route.get_links(index)[0].get_attr("IFLA_ADDRESS"))

    seen = {address()}
    for number in range(2, 8):
        descriptor = namespaces.create()
        endpoint.plug(descriptor, replace(FIRST, link=f"veth-{number}", addresses=[f"10.5.0.{number}/24"]))
        seen.add(address())
        endpoint.unplug(f"veth-{number}")
        seen.add(address())
        os.close(descriptor)
    assert len(seen) == 1
    assert seen != {"00:00:00:00:00:00"}


def test_a_container_hears_broadcasts_and_the_hosts_end_has_no_address() -> None:
    make_bridge()
    descriptor = namespaces.create()
    endpoint.plug(descriptor, FIRST)

    def broadcasts(name: str) -> list[str]:
        with links.talking() as route:
            (index,) = route.link_lookup(ifname=name)
            return [message.get_attr("IFA_BROADCAST") for message in route.get_addr(index=index)]

    assert broadcasts("br-test") == ["10.5.0.255"]
    assert namespaces.inside(descriptor, lambda: broadcasts("eth0")) == ["10.5.0.255"]
    assert broadcasts("veth-a") == []
    assert Path("/proc/thread-self/net/if_inet6").read_text().count("veth-a") == 0
    os.close(descriptor)


def test_isolated_endpoints_reach_the_bridge_and_not_each_other() -> None:
    make_bridge()
    one, other = namespaces.create(), namespaces.create()
    endpoint.plug(one, replace(FIRST, isolated=True))
    second = replace(FIRST, link="veth-b", mac="02:42:0a:05:00:03", addresses=["10.5.0.3/24"], isolated=True)
    endpoint.plug(other, second)
    listener = namespaces.inside(one, lambda: socket.create_server(("10.5.0.2", 7000)))
    with listener, socket.create_connection(("10.5.0.2", 7000), 3):

        def try_it() -> None:
            with pytest.raises(OSError, match=r"timed out|No route"):
                socket.create_connection(("10.5.0.2", 7000), 0.3)

        namespaces.inside(other, try_it)
    os.close(one)
    os.close(other)


def test_sysctls_are_set_in_the_namespace_alone() -> None:
    make_bridge()
    descriptor = namespaces.create()
    endpoint.plug(descriptor, replace(FIRST, sysctls={"ipv4/conf/eth0/log_martians": "1"}))
    path = Path("/proc/sys/net/ipv4/conf/eth0/log_martians")
    assert namespaces.inside(descriptor, path.read_text) == "1\n"
    assert not path.exists()
    os.close(descriptor)


def test_packets_go_from_a_container_to_the_bridge() -> None:
    make_bridge()
    descriptor = namespaces.create()
    endpoint.plug(descriptor, FIRST)
    with socket.create_server(("10.5.0.1", 7000)):
        peer = namespaces.inside(descriptor, lambda: socket.create_connection(("10.5.0.1", 7000), 3))
        assert peer.getsockname()[0] == "10.5.0.2"
        peer.close()
    os.close(descriptor)


def test_the_kernel_takes_the_link_when_the_namespace_goes() -> None:
    make_bridge()
    descriptor = namespaces.create()
    endpoint.plug(descriptor, FIRST)
    assert "veth-a" in names()
    os.close(descriptor)
    for _ in range(500):
        if "veth-a" not in names():
            return
        threading.Event().wait(0.01)
    raise AssertionError(names())


def test_without_a_bridge_nothing_is_left_behind() -> None:
    descriptor = namespaces.create()
    with pytest.raises(OSError, match="br-test") as caught:
        endpoint.plug(descriptor, FIRST)
    assert caught.value.errno == errno.ENODEV
    assert names() == {"lo"}
    os.close(descriptor)


def test_an_address_that_the_kernel_refuses_takes_the_pair_away_again() -> None:
    make_bridge()
    descriptor = namespaces.create()
    bad = Interface("eth0", "veth-a", "br-test", FIRST.mac, ["10.5.0.2/24"], gateways=["10.6.0.1"])
    with pytest.raises(OSError, match="rtnetlink"):
        endpoint.plug(descriptor, bad)
    assert "veth-a" not in names()
    os.close(descriptor)


def test_unplugging_twice_is_no_error() -> None:
    make_bridge()
    descriptor = namespaces.create()
    endpoint.plug(descriptor, FIRST)
    endpoint.unplug("veth-a")
    endpoint.unplug("veth-a")
    assert namespaces.inside(descriptor, names) == {"lo"}
    os.close(descriptor)


def test_a_bridge_is_made_once_and_repaired() -> None:
    make_bridge()
    make_bridge()
    with links.talking() as route:
        found = links.find(route, "br-test")
        assert found is not None
        route.addr("del", index=found.index, address="10.5.0.1", prefixlen=24)
        route.link("set", index=found.index, state="down")
    make_bridge()
    assert bridge.adopted_addresses("br-test") == ["10.5.0.1/24"]


def test_another_engines_bridge_is_neither_used_nor_removed() -> None:
    make_bridge()
    with bridge.host_locked(), pytest.raises(Conflict, match="belongs to the engine /data"):
        bridge.ensure(bridge.Bridge("br-test", "/other", ["10.5.0.1/24"]))
    bridge.remove("br-test", "/other")
    assert "br-test" in names()
    bridge.remove("br-test", "/data")
    assert "br-test" not in names()


def test_a_bridge_takes_no_routes_from_containers() -> None:
    make_bridge()
    with open("/proc/sys/net/ipv6/conf/br-test/accept_ra", encoding="ascii") as file:
        assert file.read().strip() == "0"


def test_only_one_engine_at_a_time_chooses_on_a_host() -> None:
    waiting = threading.Event()

    def second() -> None:
        with bridge.host_locked():
            waiting.set()

    with bridge.host_locked():
        thread = threading.Thread(target=second)
        thread.start()
        assert not waiting.wait(0.1)
    assert waiting.wait(10)
    thread.join()
