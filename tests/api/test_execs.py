"""exec: a second program in a running container, its streams, its exit code and its rights."""

import contextlib
import json
import secrets
import signal
import socket
import struct
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import Client, StartDaemon, busybox_tar

STDOUT, STDERR = 1, 2


class Executed:
    """A started exec: its stream, hijacked."""

    def __init__(self, client: Client, identifier: str, **start: Any) -> None:
        self.client, self.identifier = client, identifier
        self.socket = client.connect()
        body = json.dumps({"Detach": False, "Tty": False, **start})
        lines = [
            f"POST /exec/{identifier}/start HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: Upgrade",
            "Upgrade: tcp",
        ]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        self.file = self.socket.makefile("rb")
        self.status = self.file.readline().decode().rstrip()
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def output(self) -> dict[int, bytes]:
        """Return everything until the end, by stream."""
        found: dict[int, bytes] = {}
        while header := self.file.read(8):
            stream, length = struct.unpack(">BxxxL", header)
            found[stream] = found.get(stream, b"") + self.file.read(length)
        return found

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def prepare(client: Client, container: str, *command: str, **config: Any) -> str:
    """Create an exec and return its id."""
    body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command), **config}
    answer = client.post(f"/containers/{container}/exec", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def execute(client: Client, container: str, *command: str, **config: Any) -> tuple[int, dict[int, bytes]]:
    """Run a command to its end; return exit code and output."""
    identifier = prepare(client, container, *command, **config)
    with contextlib.closing(Executed(client, identifier)) as executed:
        output = executed.output()
    state = client.get(f"/exec/{identifier}/json").json
    assert state["Running"] is False
    return state["ExitCode"], output


def sleeper(client: Client, **options: Any) -> str:
    """Return a running container."""
    identifier = client.create("sleep", "600", **options)
    client.start(identifier)
    return identifier


def test_the_exit_code_is_known_as_soon_as_the_stream_has_ended(containers: Client, rounds: int) -> None:
    container = sleeper(containers)
    for _ in range(rounds):
        token = secrets.token_hex(8)
        code, output = execute(containers, container, "sh", "-c", f"echo {token}; echo e >&2; exit 7")
        assert (code, output) == (7, {STDOUT: f"{token}\n".encode(), STDERR: b"e\n"})


def test_input_reaches_the_program_and_its_end_ends_it(containers: Client) -> None:
    container = sleeper(containers)
    identifier = prepare(containers, container, "cat", AttachStdin=True)
    with contextlib.closing(Executed(containers, identifier)) as executed:
        executed.socket.sendall(b"hello\n")
        executed.socket.shutdown(socket.SHUT_WR)
        assert executed.output() == {STDOUT: b"hello\n"}


def test_a_program_that_is_not_there_is_told_in_the_stream(containers: Client) -> None:
    container = sleeper(containers)
    code, output = execute(containers, container, "no-such-program")
    assert b"executable file not found in $PATH" in output[STDOUT]
    assert code in (126, 127)  # Docker: 127 since version 23, 126 before
    code, output = execute(containers, container, "/etc")
    assert code == 126
    assert output[STDOUT].startswith(b"OCI runtime exec failed")


def test_a_client_of_before_docker_23_reads_126_for_whatever_did_not_start(containers: Client) -> None:
    container = sleeper(containers)
    for command, code in ((["no-such-program"], 126), (["sh", "-c", "exit 127"], 127)):
        identifier = prepare(containers, container, *command)
        with contextlib.closing(Executed(containers, identifier)) as executed:
            executed.output()
        assert containers.get(f"/v1.41/exec/{identifier}/json").json["ExitCode"] == code


def test_a_detached_start_of_a_missing_program_is_an_error(containers: Client) -> None:
    container = sleeper(containers)
    identifier = prepare(containers, container, "no-such-program")
    answer = containers.post(f"/exec/{identifier}/start", {"Detach": True})
    assert answer.status in (400, 500)
    assert "executable file not found" in answer.message


def test_user_directory_and_environment_are_the_execs_own(containers: Client) -> None:
    container = sleeper(containers, Env=["A=container", "B=container"], WorkingDir="/root")
    _, output = execute(
        containers,
        container,
        "sh",
        "-c",
        "id -u; pwd; echo $A $B",
        User="1000",
        WorkingDir="/tmp",
        Env=["A=exec"],
    )
    assert output[STDOUT] == b"1000\n/tmp\nexec container\n"
    assert execute(containers, container, "sh", "-c", "pwd")[1][STDOUT] == b"/root\n"


def test_an_exec_has_no_more_rights_than_its_container(containers: Client) -> None:
    container = sleeper(containers)
    script = ("grep", "-e", "^Cap", "-e", "^Seccomp:", "-e", "^Sig[BI]", "/proc/self/status")
    own = execute(containers, container, *script)[1][STDOUT].decode()
    assert "CapEff:\t00000000a80425fb" in own
    assert "CapInh:\t0000000000000000" in own
    assert "CapAmb:\t0000000000000000" in own
    assert "Seccomp:\t2" in own
    assert "SigIgn:\t0000000000000000" in own
    privileged = execute(containers, container, *script, Privileged=True)[1][STDOUT].decode()
    assert "CapEff:\t00000000a80425fb" not in privileged


def test_an_exec_cannot_be_started_twice(containers: Client) -> None:
    container = sleeper(containers)
    identifier = prepare(containers, container, "true")
    assert containers.post(f"/exec/{identifier}/start", {"Detach": True}).status == 200
    again = containers.post(f"/exec/{identifier}/start", {"Detach": True})
    assert again.status == 409


def test_nothing_is_executed_where_nothing_runs(containers: Client) -> None:
    stopped = containers.create("true")
    answer = containers.post(f"/containers/{stopped}/exec", {"Cmd": ["true"]})
    assert answer.status == 409
    assert "is not running" in answer.message
    paused = sleeper(containers)
    containers.post(f"/containers/{paused}/pause")
    answer = containers.post(f"/containers/{paused}/exec", {"Cmd": ["true"]})
    assert answer.status == 409
    assert "is paused" in answer.message
    containers.post(f"/containers/{paused}/unpause")
    assert containers.post(f"/containers/{paused}/exec", {"Cmd": []}).status == 400
    assert containers.get("/exec/nothing/json").status == 404


def test_inspect_lists_the_execs_that_are_not_over(containers: Client) -> None:
    container = sleeper(containers)
    identifier = prepare(containers, container, "sleep", "600")
    containers.post(f"/exec/{identifier}/start", {"Detach": True})
    state = containers.get(f"/exec/{identifier}/json").json
    assert (state["Running"], state["ExitCode"], state["ContainerID"]) == (True, None, container)
    assert state["ProcessConfig"]["entrypoint"] == "sleep"
    assert containers.inspect(container)["ExecIDs"] == [identifier]
    execute(containers, container, "true")
    assert containers.inspect(container)["ExecIDs"] == [identifier]


def test_the_events_name_the_exec(containers: Client) -> None:
    container = sleeper(containers)
    since = time.time()
    execute(containers, container, "sh", "-c", "exit 3")
    filters = quote(json.dumps({"container": [container]}))
    answer = containers.get(f"/events?since={since:.6f}&until={time.time() + 0.1:.6f}&filters={filters}")
    seen = [(event["Action"], event["Actor"]["Attributes"].get("exitCode")) for event in answer.lines]
    assert seen == [
        ("exec_create: sh -c exit 3", None),
        ("exec_start: sh -c exit 3", None),
        ("exec_die", "3"),
    ]


@pytest.mark.only_minidock  # the size at the start is younger than the dockerd that we ask
def test_a_terminal_of_an_exec_has_the_size_that_was_asked_for(containers: Client) -> None:
    container = sleeper(containers)
    identifier = prepare(
        containers, container, "sh", "-c", "stty size; read x; stty size", Tty=True, AttachStdin=True
    )
    with contextlib.closing(Executed(containers, identifier, Tty=True, ConsoleSize=[31, 97])) as executed:
        assert executed.file.readline() == b"31 97\r\n"
        assert containers.post(f"/exec/{identifier}/resize?h=40&w=120").status in (200, 201)
        executed.socket.sendall(b"\n")
        executed.file.readline()  # the echo
        assert executed.file.readline() == b"40 120\r\n"


@pytest.mark.only_minidock
def test_an_exec_outlives_the_daemon(new_daemon: StartDaemon) -> None:
    first = new_daemon("execs")
    client = first.client()
    client.post("/images/create?fromSrc=-&repo=box&tag=latest", busybox_tar())
    answer = client.post(
        "/containers/create",
        {"Image": "box", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}},
    )
    container = answer.json["Id"]
    client.start(container)
    runs, ends = prepare(client, container, "sleep", "500"), prepare(client, container, "sh", "-c", WAIT)
    for identifier in (runs, ends):
        client.post(f"/exec/{identifier}/start", {"Detach": True})
    pid = client.get(f"/exec/{runs}/json").json["Pid"]
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    time.sleep(0.7)
    client = new_daemon("execs").client()
    state = client.get(f"/exec/{runs}/json").json
    assert (state["Running"], state["Pid"], state["ProcessConfig"]["arguments"]) == (True, pid, ["500"])
    state = client.get(f"/exec/{ends}/json").json
    assert (state["Running"], state["ExitCode"]) == (False, 9)


WAIT = "sleep 0.5; exit 9"
