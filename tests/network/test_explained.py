"""What `run --explain` says of a network, and `minidock explain` of a container that runs in one.

What is drawn is compared with what other programs say about the same things.
"""

import os
import re
import subprocess
import sys
import time
from typing import Any

from minidock.kernel import namespaces
from tests.network.conftest import IMAGE, Engine

NETWORK_STEPS = [
    "make the network namespace",
    "choose an address",
    "plug in the interface",
    "publish the ports",
]


PROGRAM = "import sys; from minidock.cli.main import main; sys.exit(main())"
STORY = "echo new > /new; rm /bin/echo; sleep 1000 & exec sleep 1001"


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


def drawn(engine: Engine, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `minidock explain` on the engine's host."""
    command = [sys.executable, "-c", PROGRAM, "-H", f"unix://{engine.daemon.socket_path}", "explain", *words]
    return engine.lan.host(lambda: subprocess.run(command, capture_output=True, text=True, check=False))


def section(picture: str, title: str) -> str:
    """Return the lines of one section of a picture."""
    found = re.search(rf"(?s)\n{title} \(.*?\n(.*?)(?:\n\n|\n?\Z)", picture)
    assert found, picture
    return found[1]


def test_a_running_container_is_drawn_as_it_is(engine: Engine) -> None:
    bindings = {"80/tcp": [{"HostIp": "", "HostPort": "8092"}]}
    identifier = engine.run("sh", "-c", STORY, PortBindings=bindings, Memory=64 << 20)
    settings, pid = engine.settings(identifier), engine.pid(identifier)
    while len(engine.client.get(f"/containers/{identifier}/top").json["Processes"]) < 2:
        time.sleep(0.02)
    answer = drawn(engine, identifier[:12])
    assert answer.returncode == 0, answer.stderr
    picture = answer.stdout

    processes = section(picture, "Processes")
    assert re.search(rf"daemon, pid {engine.daemon.process.pid}$", processes, re.MULTILINE)
    made = [processes.index(words) for words in ("spawner, ", "shim, ", f"pid {pid}, 1 inside: sleep 1001")]
    assert made == sorted(made)
    assert processes.rstrip().endswith(" inside: sleep 1000")

    for name, kind in namespaces.NAMES.items():
        if os.path.exists(f"/proc/{pid}/ns/{kind.file}"):
            line = f"{name:8} {os.readlink(f'/proc/{pid}/ns/{kind.file}'):20} "
            shared = namespaces.inode(pid, name) == namespaces.inode("self", name)
            assert line + ("the host's" if shared else "not the host's") in section(picture, "Namespaces")

    assert re.search(r"^  memory +[\d.]+ MiB of 64.0 MiB ", section(picture, "Cgroup"), re.MULTILINE)
    layers = section(picture, "Layers")
    assert "hides /bin/echo: a character device 0:0" in layers
    assert "has /new" in layers
    assert layers.count("lowerdir  ro") == 2
    assert "/etc/hosts" in section(picture, "Mounts")
    log = engine.client.inspect(identifier)["LogPath"]
    descriptors = section(picture, "Descriptors")
    assert f"1 --> {os.readlink(f'/proc/{pid}/fd/1')} --> " in descriptors
    assert descriptors.endswith(f" of the shim --> {log}")
    assert " capabilities: chown, " in section(picture, "Rights")

    packets = section(picture, "Packets")
    link = next(line for line in engine.lan.on_host("ip", "-o", "link").splitlines() if "veth" in line)
    assert f"host     {link.split()[1].partition('@')[0]}" in packets
    assert f"eth0  {settings['IPAddress']}/{settings['IPPrefixLen']}  {settings['MacAddress']}" in packets
    assert f"host     {engine.bridge}  {settings['Gateway']}/" in packets
    assert f"map published4-any: tcp . 8092 --> {settings['IPAddress']} . 80" in packets
    assert re.search(r"tcp 0\.0\.0\.0:8092: descriptor \d+ of the shim", packets)
    engine.remove(identifier)


def test_networks_without_a_way_are_drawn_as_such(engine: Engine) -> None:
    for network, words in (("none", "nothing but lo"), ("host", "the host's own network")):
        identifier = engine.run(network=network)
        assert words in section(drawn(engine, identifier).stdout, "Packets")
        engine.remove(identifier)
    unpublished = engine.run()
    other = engine.run(network=f"container:{unpublished}")
    for one in (unpublished, other):
        packets = section(drawn(engine, one).stdout, "Packets")
        assert engine.settings(unpublished)["IPAddress"] in packets
        assert "no port is published" in packets
    engine.remove(other, unpublished)


def test_a_paused_container_is_drawn_and_a_stopped_one_refused(engine: Engine) -> None:
    identifier = engine.run()
    name = engine.client.inspect(identifier)["Name"].lstrip("/")
    engine.client.post(f"/containers/{identifier}/pause")
    assert f"{name} ({identifier[:12]}), paused, " in drawn(engine, name).stdout
    engine.client.post(f"/containers/{identifier}/unpause")
    engine.client.post(f"/containers/{identifier}/kill")
    engine.client.post(f"/containers/{identifier}/wait")
    answer = drawn(engine, name)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        f"container {name} is exited: only one that runs can be drawn (docker start {name})\n"
    )
    engine.remove(identifier)


def test_an_unknown_container_is_named(engine: Engine) -> None:
    answer = drawn(engine, "nobody")
    assert (answer.returncode, answer.stderr) == (
        1,
        "Error response from daemon: No such container: nobody\n",
    )
    answer = drawn(engine)
    assert answer.returncode == 1
    assert answer.stderr.startswith("minidock: 'minidock explain' requires 1 argument\n")
