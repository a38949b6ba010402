"""Published ports, asked for by another machine: this host, over the virtual machine's network card."""

import http.client
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.vm.conftest import docker

if TYPE_CHECKING:
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

# For whoever comes, for the loopback alone, and for the machine's own address.
EVERYBODY, LOOPBACK, ADDRESS = 8080, 8081, 8082
WEB = "sh -c 'mkdir /www && hostname >/www/index.html && exec httpd -f -p 80 -h /www'"


@pytest.fixture(scope="module")
def web(service: "Machine") -> Iterator[str]:
    """Start a web server with published ports, and yield what it says."""
    published = f"-p {EVERYBODY}:80 -p 127.0.0.1:{LOOPBACK}:80 -p {service.address}:{ADDRESS}:80"
    docker(service, f"run -d --name web --hostname web {published} hostbox {WEB}")
    service.run(f"for i in $(seq 120); do curl -sf 127.0.0.1:{LOOPBACK} && exit 0; sleep 0.5; done; exit 1")
    yield "web\n"
    docker(service, "rm -f web", check=False)


@pytest.fixture
def fetch(service: "Machine", scaled: Callable[[float], float]) -> Callable[[str, int], str]:
    """Return the function that asks a web server from outside the machine."""

    def get(address: str, port: int) -> str:
        connection = http.client.HTTPConnection(address, port, timeout=scaled(2))
        connection.request("GET", "/")
        return connection.getresponse().read().decode()

    return get


@pytest.mark.parametrize("port", [EVERYBODY, ADDRESS])
def test_a_published_port_answers_another_machine(
    service: "Machine", web: str, fetch: Callable[[str, int], str], port: int
) -> None:
    assert fetch(service.address, port) == web


def test_a_port_published_on_the_loopback_answers_the_machine_alone(
    service: "Machine", web: str, fetch: Callable[[str, int], str]
) -> None:
    assert service.run(f"curl -sf 127.0.0.1:{LOOPBACK}").stdout == web
    with pytest.raises(OSError):
        fetch(service.address, LOOPBACK)
    # And not by a packet that claims the loopback address, which a neighbour can send.
    route = ["ip", "route", "replace", "127.0.0.2/32", "via", service.address]
    subprocess.run(route, check=True)
    with pytest.raises(OSError):
        fetch("127.0.0.2", LOOPBACK)


def test_a_port_that_is_not_published_is_closed_to_a_neighbour_with_a_route(
    service: "Machine", web: str, fetch: Callable[[str, int], str]
) -> None:
    inside = docker(service, "inspect --format '{{.NetworkSettings.Networks.bridge.IPAddress}}' web")
    assert service.run(f"curl -sf {inside}").stdout == web
    subprocess.run(["ip", "route", "replace", f"{inside}/32", "via", service.address], check=True)
    with pytest.raises(OSError):
        fetch(inside, 80)


def test_a_published_port_comes_back_with_the_engine_and_goes_with_its_container(
    service: "Machine", web: str, fetch: Callable[[str, int], str]
) -> None:
    service.run("systemctl restart minidock")
    assert fetch(service.address, EVERYBODY) == web
    docker(service, "rm -f web")
    with pytest.raises(OSError):
        fetch(service.address, EVERYBODY)
