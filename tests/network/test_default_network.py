"""The default network as containers, the host and a neighbour see it."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.dockerd import PrivateDockerd
from minidock.network import namespaces
from tests.api.conftest import cgroup_directories, end_daemon, processes_in, start_daemon
from tests.network.conftest import HOST, IMAGE, NEIGHBOUR, PATIENCE, Engine, Lan, ask, cable_to, refused


def test_a_container_has_an_address_a_gateway_and_says_so(engine: Engine) -> None:
    one = engine.run()
    settings = engine.settings(one)
    network = engine.client.get("/networks/bridge").json
    (subnet,) = network["IPAM"]["Config"]
    assert settings["IPAddress"] == settings["Networks"]["bridge"]["IPAddress"]
    assert settings["Gateway"] == subnet["Gateway"]
    assert settings["MacAddress"].startswith("02:42:")
    assert network["Containers"][one]["IPv4Address"] == f"{settings['IPAddress']}/{settings['IPPrefixLen']}"
    assert sorted(
        engine.lan.inside(engine.pid(one), lambda: [name for _, name in socket.if_nameindex()])
    ) == [
        "eth0",
        "lo",
    ]
    engine.remove(one)
    assert one not in engine.client.get("/networks/bridge").json["Containers"]


def test_containers_reach_each_other_and_the_host_them(engine: Engine) -> None:
    server, client = engine.run(), engine.run()
    address = engine.settings(server)["IPAddress"]
    with engine.serve(server, 80, b"hello"):
        assert engine.lan.inside(engine.pid(client), lambda: ask(address, 80)) == b"hello"
        assert engine.lan.host(lambda: ask(address, 80)) == b"hello"
    engine.remove(server, client)


def test_what_leaves_the_host_has_the_hosts_address(engine: Engine) -> None:
    one = engine.run()
    listener = engine.lan.neighbour(lambda: socket.create_server((NEIGHBOUR, 7001)))
    peer = engine.lan.inside(engine.pid(one), lambda: socket.create_connection((NEIGHBOUR, 7001), 3))
    with listener, peer, listener.accept()[0] as seen:
        assert seen.getpeername()[0] == HOST
    engine.remove(one)


def test_a_neighbour_cannot_route_to_a_container(engine: Engine) -> None:
    one = engine.run()
    address = engine.settings(one)["IPAddress"]

    def through_the_host() -> bool:
        subprocess.run(["ip", "route", "replace", f"{address}/32", "via", HOST], check=True)
        return refused(address, 80)

    with engine.serve(one, 80, b"secret"):
        assert engine.lan.neighbour(through_the_host)
        assert not engine.lan.host(lambda: refused(address, 80))
    engine.remove(one)


def test_addresses_are_not_used_again_at_once(engine: Engine) -> None:
    seen = []
    for _ in range(4):
        one = engine.run()
        seen.append(engine.settings(one)["IPAddress"])
        engine.remove(one)
    assert len(set(seen)) == 4


@pytest.mark.parametrize("mode", ["none", "default"])
def test_the_loopback_is_up(engine: Engine, mode: str) -> None:
    one = engine.run(network=mode)

    def flags() -> str:
        return subprocess.run(["ip", "link", "show", "lo"], capture_output=True, text=True, check=True).stdout

    assert "LOOPBACK,UP" in engine.lan.inside(engine.pid(one), flags)
    engine.remove(one)


def test_a_container_can_share_the_network_of_another(engine: Engine) -> None:
    owner = engine.run(Hostname="owner")
    guest = engine.run(network=f"container:{owner}")
    inodes = {Path(f"/proc/{engine.pid(one)}/ns/net").stat().st_ino for one in (owner, guest)}
    assert len(inodes) == 1
    assert engine.settings(guest)["Networks"] == {}
    inspected = engine.client.inspect(guest)["Config"]["Hostname"]
    seen = subprocess.run(
        ["nsenter", "-t", str(engine.pid(guest)), "-u", "hostname"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (inspected, seen) == ("owner", "owner\n")
    inside = Path(f"/proc/{engine.pid(guest)}/root/etc/hosts").read_text()
    assert f"{engine.settings(owner)['IPAddress']}\towner" in inside
    engine.remove(owner, guest)


def test_sharing_with_a_container_that_does_not_run_is_refused(engine: Engine) -> None:
    body: Any = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "container:nobody"}}
    created = engine.client.post("/containers/create", body).json["Id"]
    answer = engine.client.post(f"/containers/{created}/start")
    assert answer.message == "joining network namespace of container: No such container: nobody"
    body["HostConfig"]["NetworkMode"] = f"container:{created}"
    second = engine.client.post("/containers/create", body).json["Id"]
    answer = engine.client.post(f"/containers/{second}/start")
    assert "cannot join network namespace of a non running container: container" in answer.message
    assert answer.message.endswith(" is created")
    engine.remove(created, second)


def test_a_mac_address_can_be_chosen(engine: Engine) -> None:
    one = engine.run(EndpointsConfig={"default": {"MacAddress": "02:42:00:11:22:33"}})
    assert engine.settings(one)["MacAddress"] == "02:42:00:11:22:33"
    engine.remove(one)


def test_the_hosts_file_names_the_container_and_the_gateway(engine: Engine) -> None:
    one = engine.run(Hostname="me", ExtraHosts=["outside:host-gateway"])
    settings = engine.settings(one)
    text = Path(f"/proc/{engine.pid(one)}/root/etc/hosts").read_text()
    assert f"{settings['IPAddress']}\tme\n" in text
    assert f"{settings['Gateway']}\toutside\n" in text
    engine.remove(one)


def test_a_killed_daemon_finds_the_endpoints_again(lan: Lan, directory: Path) -> None:
    first = lan.host(lambda: start_daemon(directory / "killed", "--bridge", "", "--bip", "10.55.0.1/24"))
    engine = Engine(lan, first)
    one = engine.run(network="", PortBindings={"80/tcp": [{"HostPort": "8099"}]}) if _load(engine) else ""
    before = engine.settings(one)
    first.stop(signal.SIGKILL)
    lan.nft("flush ruleset")
    again = Engine(
        lan, lan.host(lambda: start_daemon(directory / "killed", "--bridge", "", "--bip", "10.55.0.1/24"))
    )
    assert again.settings(one) == before
    with again.serve(one, 80, b"still here"):
        assert lan.neighbour(lambda: ask(HOST, 8099)) == b"still here"
        assert lan.host(lambda: ask("127.0.0.1", 8099)) == b"still here"
    other = again.run()
    assert again.settings(other)["IPAddress"] != before["IPAddress"]
    again.remove(one, other)
    assert again.daemon.stop() == 0
    assert "10.55.0" not in lan.on_host("ip", "addr")
    assert "10.55.0" not in lan.nft("list ruleset")


def test_engines_on_one_host_choose_different_bridges_and_subnets(
    engine: Engine, lan: Lan, directory: Path
) -> None:
    second = Engine(lan, lan.host(lambda: start_daemon(directory / "second", "--bridge", "")))
    _load(second)
    one, other = engine.run(), second.run()
    assert engine.bridge != second.bridge
    assert engine.settings(one)["Gateway"] != second.settings(other)["Gateway"]
    engine.remove(one)
    second.remove(other)
    assert second.daemon.stop() == 0
    assert second.daemon.directory.exists()


def test_the_first_containers_of_an_engine_may_come_at_once(lan: Lan, directory: Path) -> None:
    """Each of them finds a network whose subnet nobody has chosen yet."""
    engine = Engine(lan, lan.host(lambda: start_daemon(directory / "at-once", "--bridge", "")))
    _load(engine)
    with ThreadPoolExecutor(8) as clients:
        started = list(clients.map(lambda _: engine.run(), range(8)))
    assert len({engine.settings(one)["IPAddress"] for one in started}) == 8
    assert len({engine.settings(one)["Gateway"] for one in started}) == 1
    engine.remove(*started)
    assert engine.daemon.stop() == 0


def test_without_a_bridge_the_default_network_is_a_loopback(lan: Lan, directory: Path) -> None:
    daemon = lan.host(lambda: start_daemon(directory / "none", "--bridge", "none"))
    engine = Engine(lan, daemon)
    _load(engine)
    one = engine.run()
    assert engine.settings(one)["IPAddress"] == ""
    assert json.dumps(engine.client.get("/networks/bridge").json["Options"]) == "{}"
    engine.remove(one)
    assert daemon.stop() == 0


def test_a_forward_policy_of_drop_is_lived_with(engine: Engine) -> None:
    chain = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }\n"
    engine.lan.nft(chain)
    one = engine.run(PortBindings={"80/tcp": [{"HostPort": "8098"}]})
    with engine.serve(one, 80, b"passed"):
        deadline = time.monotonic() + PATIENCE
        while engine.bridge not in (listed := engine.lan.nft("list chain ip filter FORWARD")):
            assert time.monotonic() < deadline, listed
            time.sleep(0.02)
        rules = re.findall(r'[io]ifname "(\S+)" counter .*accept comment', listed)
        assert rules == [engine.bridge] * 2
        assert engine.lan.neighbour(lambda: ask(HOST, 8098)) == b"passed"
    engine.remove(one)
    engine.lan.nft("delete table ip filter")


@pytest.mark.oracle("dockerd")
def test_docker_may_start_after_us_and_drop_what_is_forwarded(engine: Engine, directory: Path) -> None:
    one = engine.run(PortBindings={"80/tcp": [{"HostPort": "8096"}]})
    # Docker sets the policy only where it turns forwarding on itself.
    engine.lan.on_host("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    docker = PrivateDockerd(directory / "dockerd", bridged=True, in_this_network=True)
    with engine.serve(one, 80, b"passed"):
        engine.lan.host(docker.__enter__)
        try:
            deadline = time.monotonic() + 60
            listed = ""
            while listed.count(engine.bridge) < 2:
                assert time.monotonic() < deadline, listed
                time.sleep(0.05)
                with contextlib.suppress(OSError):  # Docker has not made its chains yet
                    listed = engine.lan.nft("list chain ip filter DOCKER-USER")
            assert "policy drop" in engine.lan.nft("list chain ip filter FORWARD")
            assert engine.lan.neighbour(lambda: ask(HOST, 8096)) == b"passed"
            engine.remove(engine.run())
            assert engine.lan.neighbour(lambda: ask(HOST, 8096)) == b"passed"
        finally:
            docker.__exit__(None, None, None)
            engine.remove(one)
            engine.lan.on_host("sh", "-c", "ip link del docker0 || true")
            engine.lan.nft(
                "add table ip nat\nadd table ip filter\ndelete table ip filter\ndelete table ip nat\n"
            )


def test_nothing_outlives_an_exec_root_that_is_cleaned(directory: Path) -> None:
    """Everything is killed and /run is emptied, as by a hand that knows no better; then an engine starts."""
    with contextlib.closing(Lan()) as lan:
        lan.nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }\n")
        engine = Engine(lan, lan.host(lambda: start_daemon(directory / "cleaned", "--bridge", "")))
        _load(engine)
        engine.client.post("/networks/create", {"Name": "left", "Labels": {"a": "b"}})
        engine.run(network="left", PortBindings={"80/tcp": [{"HostPort": "8095"}]})
        engine.run()
        links_before = [name for _, name in lan.host(socket.if_nameindex) if name.startswith(("md-", "br-"))]
        assert len(links_before) == 2
        engine.daemon.process.kill()
        engine.daemon.process.wait()
        for path in cgroup_directories(engine.daemon.cgroup_parent):
            for pid in processes_in(path):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory / "cleaned" / "run")
        again = Engine(lan, lan.host(lambda: start_daemon(directory / "cleaned", "--bridge", "")))
        assert {one["State"] for one in again.client.get("/containers/json?all=1").json} == {"exited"}
        assert "8095" not in lan.nft("list ruleset")
        assert "veth" not in lan.on_host("ip", "-br", "link")
        end_daemon(again.daemon)
        assert "minidock" not in lan.nft("list ruleset")
        assert not [n for _, n in lan.host(socket.if_nameindex) if n.startswith(("md-", "br-"))]


@pytest.mark.parametrize(
    "what",
    [
        "flush ruleset",
        "delete table inet TABLE",
        "flush table inet TABLE",
        "flush chain inet TABLE isolate",
        "flush map inet TABLE published4-any",
        "flush set inet TABLE masqueraded4",
    ],
)
def test_flushed_rules_are_written_again(engine: Engine, what: str) -> None:
    one = engine.run(PortBindings={"80/tcp": [{"HostPort": "8097"}]})
    table = f"minidock-{engine.bridge}"
    before = engine.lan.nft(f"list table inet {table}")
    engine.lan.nft(what.replace("TABLE", table))
    deadline = time.monotonic() + 20
    found = ""
    while found != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        with contextlib.suppress(OSError):  # the table is not there yet
            found = engine.lan.nft(f"list table inet {table}")
    with engine.serve(one, 80, b"again"):
        assert engine.lan.neighbour(lambda: ask(HOST, 8097)) == b"again"
    engine.remove(one)


@pytest.mark.parametrize("was_a_router", [False, True])
def test_a_host_does_not_become_a_router_between_its_other_networks(
    directory: Path, was_a_router: bool
) -> None:
    with contextlib.closing(Lan()) as lan:
        behind = namespaces.create()
        lan.host(lambda: cable_to(behind, "lan2", "10.8.0.1/24", "10.8.0.2/24"))
        lan.on_host("sh", "-c", f"echo {int(was_a_router)} > /proc/sys/net/ipv4/ip_forward")
        engine = Engine(lan, lan.host(lambda: start_daemon(directory / f"r{was_a_router}", "--bridge", "")))
        _load(engine)
        one = engine.run()
        assert lan.on_host("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"

        def connects() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("10.8.0.2", 7003), 1):
                return True
            return False

        def reached() -> bool:
            subprocess.run(["ip", "route", "replace", "10.8.0.0/24", "via", HOST], check=True)
            return connects()

        with namespaces.inside(behind, lambda: socket.create_server(("10.8.0.2", 7003))):
            assert lan.neighbour(reached) == was_a_router
            assert lan.inside(engine.pid(one), connects)
        engine.daemon.stop(signal.SIGKILL)
        daemon = lan.host(lambda: start_daemon(directory / f"r{was_a_router}", "--bridge", ""))
        with namespaces.inside(behind, lambda: socket.create_server(("10.8.0.2", 7003))):
            assert lan.neighbour(reached) == was_a_router  # an engine that was killed remembers
        end_daemon(daemon)
        os.close(behind)


def _load(engine: Engine) -> bool:
    from tests.api.conftest import busybox_tar

    target = "/images/create?fromSrc=-&repo=minidock-network-test&tag=latest"
    return engine.client.post(target, busybox_tar()).status == 200
