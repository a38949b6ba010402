"""What `--explain` says of a network: the steps that made it, with what they made."""

from typing import Any

from tests.network.conftest import IMAGE, Engine

NETWORK_STEPS = [
    "make the network namespace",
    "choose an address",
    "plug in the interface",
    "publish the ports",
]


def explained(engine: Engine, **host: Any) -> tuple[str, dict[str, dict[str, Any]]]:
    """Start a container with a trace; return its id and the records by their step."""
    body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": host}
    identifier = str(engine.client.post("/containers/create", body).json["Id"])
    answer = engine.client.post(f"/containers/{identifier}/start?explain=1")
    assert answer.status == 200, answer.body
    return identifier, {record["step"]: record for record in answer.lines}


def test_a_start_on_the_bridge_tells_how_its_network_was_made(engine: Engine) -> None:
    bindings = {"80/tcp": [{"HostIp": "", "HostPort": "8091"}]}
    identifier, steps = explained(engine, NetworkMode="default", PortBindings=bindings)
    settings = engine.settings(identifier)
    assert [step for step in steps if step in NETWORK_STEPS] == NETWORK_STEPS
    assert all(steps[step]["duration_ns"] > 0 for step in NETWORK_STEPS)
    assert steps["choose an address"]["addresses"][0] == settings["IPAddress"]
    assert steps["choose an address"]["bridge"] == engine.bridge
    plugged = steps["plug in the interface"]
    assert plugged["inside"] == "eth0"
    assert f": {plugged['outside']}@" in engine.lan.on_host("ip", "-o", "link")
    assert plugged["gateways"] == [settings["Gateway"]]
    element = f"published4-any tcp . 8091 : {settings['IPAddress']} . 80"
    assert element in steps["publish the ports"]["elements"]
    engine.remove(identifier)


def test_a_start_without_a_network_tells_of_none(engine: Engine) -> None:
    identifier, steps = explained(engine, NetworkMode="none")
    assert [step for step in steps if step in NETWORK_STEPS] == ["make the network namespace"]
    engine.remove(identifier)
    identifier, steps = explained(engine, NetworkMode="host")
    assert not set(steps) & set(NETWORK_STEPS)
    engine.remove(identifier)
