"""Published ports, tried from everywhere."""

import socket
import threading

import pytest

from tests.network.conftest import HOST, HOST6, Engine, ask, refused


def bindings(**ports: str) -> dict[str, list[dict[str, str]]]:
    """Return PortBindings for names like tcp80="127.0.0.1:8080"."""
    found = {}
    for name, text in ports.items():
        address, _, port = text.rpartition(":")
        protocol = name.rstrip("0123456789")
        found[f"{name.removeprefix(protocol)}/{protocol}"] = [{"HostIp": address, "HostPort": port}]
    return found


def test_a_published_port_is_reached_from_everywhere(engine: Engine) -> None:
    one, other = engine.run(PortBindings=bindings(tcp80="8080")), engine.run()
    gateway = engine.settings(other)["Gateway"]
    with engine.serve(one, 80, b"hello"):
        assert engine.lan.neighbour(lambda: ask(HOST, 8080)) == b"hello"
        assert engine.lan.neighbour(lambda: ask(HOST6, 8080)) == b"hello"
        for address in (HOST, "127.0.0.1", "::1", gateway):
            assert engine.lan.host(lambda address=address: ask(address, 8080)) == b"hello"
        for container in (one, other):  # one's own is the hairpin
            for address in (HOST, gateway):
                asked = engine.lan.inside(engine.pid(container), lambda address=address: ask(address, 8080))
                assert asked == b"hello"
    engine.remove(one, other)
    assert engine.lan.host(lambda: refused("127.0.0.1", 8080))


def test_there_is_one_map_element_a_port_and_none_afterwards(engine: Engine) -> None:
    one = engine.run(PortBindings=bindings(tcp80="8081", udp53="8053"))
    listed = engine.elements("published4-any")
    assert "tcp . 8081" in listed
    assert "udp . 8053" in listed
    engine.remove(one)
    assert "elements" not in engine.elements("published4-any")


def test_the_loopback_alone_is_the_loopback_alone(engine: Engine) -> None:
    one = engine.run(PortBindings=bindings(tcp80="127.0.0.1:8082"))

    def route_and_ask() -> bool:
        import subprocess

        subprocess.run(["ip", "route", "replace", "127.0.0.2/32", "via", HOST], check=False)
        return refused(HOST, 8082) and refused("127.0.0.2", 8082)

    with engine.serve(one, 80, b"mine"):
        assert engine.lan.host(lambda: ask("127.0.0.1", 8082)) == b"mine"
        assert engine.lan.host(lambda: refused(HOST, 8082))
        assert engine.lan.neighbour(route_and_ask)
    assert engine.lan.on_host("cat", "/proc/sys/net/ipv4/conf/all/route_localnet").strip() == "0"
    engine.remove(one)


def test_the_relay_carries_much_in_both_directions(engine: Engine) -> None:
    one = engine.run(PortBindings=bindings(tcp80="8083"))
    listener = engine.lan.inside(engine.pid(one), lambda: socket.create_server(("", 80)))
    sent = bytes(range(256)) * 40_000

    def echo() -> None:
        client, _ = listener.accept()
        with client:
            while piece := client.recv(1 << 16):
                client.sendall(piece)

    thread = threading.Thread(target=echo)
    thread.start()

    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", 8083), 20) as channel:
            writer = threading.Thread(
                target=lambda: (channel.sendall(sent), channel.shutdown(socket.SHUT_WR))
            )
            writer.start()
            received = bytearray()
            while piece := channel.recv(1 << 16):
                received += piece
            writer.join()
            return bytes(received)

    assert engine.lan.host(talk) == sent
    thread.join()
    listener.close()
    engine.remove(one)


@pytest.mark.parametrize("address", [HOST, "127.0.0.1", "127.0.0.5", "::1"])
def test_a_datagram_is_answered_from_where_it_was_sent(engine: Engine, address: str) -> None:
    one = engine.run(PortBindings=bindings(udp53="8054"))

    def bind() -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("", 53))
        return bound

    server = engine.lan.inside(engine.pid(one), bind)

    def answer() -> None:
        question, client = server.recvfrom(100)
        server.sendto(b"re: " + question, client)

    thread = threading.Thread(target=answer)
    thread.start()

    def talk() -> bytes:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            channel.settimeout(5)
            channel.connect((address, 8054))
            channel.send(b"question")
            return channel.recv(100)

    assert engine.lan.host(talk) == b"re: question"
    thread.join()
    server.close()
    engine.remove(one)


def test_inspect_and_ps_show_where(engine: Engine) -> None:
    one = engine.run(PortBindings=bindings(tcp80="8084"), ExposedPorts={"80/tcp": {}, "90/udp": {}})
    assert engine.settings(one)["Ports"] == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8084"}, {"HostIp": "::", "HostPort": "8084"}],
        "90/udp": None,
    }
    (line,) = engine.client.get("/containers/json").json
    assert {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8084, "Type": "tcp"} in line["Ports"]
    assert {"PrivatePort": 90, "Type": "udp"} in line["Ports"]
    engine.remove(one)


def test_every_exposed_port_gets_a_free_one(engine: Engine) -> None:
    one = engine.run(PublishAllPorts=True, ExposedPorts={"80-81/tcp": {}})
    ports = engine.settings(one)["Ports"]
    numbers = {binding["HostPort"] for key in ("80/tcp", "81/tcp") for binding in ports[key]}
    assert len(numbers) == 2
    assert all(int(number) >= 32768 for number in numbers)
    engine.remove(one)


def test_of_a_range_the_first_free_port_is_taken(engine: Engine) -> None:
    with engine.lan.host(lambda: socket.create_server(("0.0.0.0", 8100))):
        one = engine.run(PortBindings=bindings(tcp80="8100-8102"))
        assert engine.settings(one)["Ports"]["80/tcp"][0]["HostPort"] == "8101"
    engine.remove(one)


def start_refused(engine: Engine, text: str, port: str = "tcp80") -> str:
    body = {"Image": "minidock-network-test:latest", "Cmd": ["sleep", "9"]}
    body["HostConfig"] = {"PortBindings": bindings(**{port: text})}  # type: ignore[assignment]
    identifier = engine.client.post("/containers/create", body).json["Id"]
    answer = engine.client.post(f"/containers/{identifier}/start")
    assert answer.status == 500
    engine.remove(identifier)
    return answer.message


def test_a_port_of_another_container_is_already_allocated(engine: Engine) -> None:
    one = engine.run(PortBindings=bindings(tcp80="8085"))
    assert "Bind for 0.0.0.0:8085 failed: port is already allocated" in start_refused(engine, "8085")
    with engine.serve(one, 80, b"unharmed"):
        assert engine.lan.neighbour(lambda: ask(HOST, 8085)) == b"unharmed"
    engine.remove(one)
    engine.remove(engine.run(PortBindings=bindings(tcp80="8085")))


def test_a_port_of_the_host_is_in_use(engine: Engine) -> None:
    with engine.lan.host(lambda: socket.create_server(("0.0.0.0", 8086))):
        message = start_refused(engine, "8086")
    assert "failed to bind host port for 0.0.0.0:8086:" in message
    assert message.endswith(":80/tcp: address already in use")


def test_an_address_that_the_host_has_not_is_refused(engine: Engine) -> None:
    assert "cannot assign requested address" in start_refused(engine, "203.0.113.9:8087")


@pytest.mark.parametrize("where", ["8095", "", "127.0.0.1:"])
def test_an_sctp_port_is_published_or_refused_but_never_forgotten(engine: Engine, where: str) -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        assert start_refused(engine, where, "sctp80").endswith(":80/sctp: protocol not supported")
    else:
        one = engine.run(PortBindings=bindings(sctp80=where))
        assert engine.settings(one)["Ports"]["80/sctp"][0]["HostPort"] != ""
        engine.remove(one)


def test_a_program_that_ends_at_once_gives_its_ports_back(engine: Engine) -> None:
    for _ in range(5):
        one = engine.run("true", PortBindings=bindings(tcp80="8088"))
        engine.client.post(f"/containers/{one}/wait")
        engine.remove(one)
    assert "elements" not in engine.elements("published4-any")


@pytest.mark.soak(500)
def test_many_ports_come_and_go(engine: Engine, rounds: int) -> None:
    number = rounds * 10 if rounds < 500 else rounds
    one = engine.run(
        PortBindings={f"{port}/tcp": [{"HostPort": str(20000 + port)}] for port in range(1, number + 1)}
    )
    assert engine.elements("published4-any").count("tcp . ") == number
    with engine.serve(one, number, b"last"):
        assert engine.lan.host(lambda: ask("127.0.0.1", 20000 + number)) == b"last"
    engine.remove(one)
    assert "elements" not in engine.elements("published4-any")
