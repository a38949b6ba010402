"""The life of a container over the socket; these cases run unchanged against dockerd."""

import contextlib
import json
import threading
from typing import Any

import pytest

from tests.api.conftest import IMAGE, Client


def test_create_answers_as_documented(containers: Client, schema: Any) -> None:
    answer = containers.post("/containers/create", {"Image": IMAGE, "Cmd": ["true"]})
    assert answer.status == 201
    schema.validate(answer.json, "POST", "/containers/create", 201)
    assert len(answer.json["Id"]) == 64


def test_a_missing_image_is_the_only_404_of_create(containers: Client) -> None:
    answer = containers.post("/containers/create", {"Image": "no-such-image-here", "Cmd": ["true"]})
    assert answer.status == 404
    assert answer.message == "No such image: no-such-image-here:latest"


@pytest.mark.only_minidock  # the words are those of version 28
@pytest.mark.parametrize("wanted", ["linux/s390x", "s390x", "linux/s390x/v1", "windows/amd64"])
def test_an_image_for_another_machine_is_not_there(containers: Client, wanted: str) -> None:
    body = {"Image": IMAGE, "Cmd": ["true"]}
    answer = containers.post(f"/containers/create?platform={wanted}", body)
    assert answer.status == 404
    assert f"{IMAGE} was found but does not match the specified platform: wanted" in answer.message
    actual = answer.message.rpartition(" ")[2]
    for same in (actual, "linux", actual.partition("/")[2], f"{actual}/v1", ""):
        assert containers.post(f"/containers/create?platform={same}", body).status == 201


@pytest.mark.parametrize(
    "body",
    [
        {"Image": IMAGE, "Cmd": "a b", "HostConfig": {"Memory": "64m"}},
        {"Image": IMAGE, "Env": "A=B"},
        {"Image": IMAGE, "Tty": "yes"},
        {"Image": IMAGE, "HostConfig": {"PortBindings": {"80/tcp": "80"}}},
        {"Image": IMAGE, "Labels": ["a"]},
        {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "Memory": 4}},
        {"Image": IMAGE, "Cmd": ["true"], "WorkingDir": "relative"},
    ],
)
def test_a_bad_create_is_400(containers: Client, body: dict[str, Any], refusals: tuple[int, ...]) -> None:
    answer = containers.post("/containers/create", body)
    assert answer.status in refusals, answer.body
    assert answer.message


@pytest.mark.only_minidock
def test_an_unknown_field_of_create_gives_a_warning_that_names_it(containers: Client) -> None:
    body = {
        "Image": IMAGE,
        "Cmd": ["true"],
        "HostConfig": {"NetworkMode": "none", "Wings": 2},
        "Colour": "red",
    }
    warnings = containers.post("/containers/create", body).json["Warnings"]
    assert any("HostConfig.Wings" in warning for warning in warnings)
    assert any("Colour" in warning for warning in warnings)


def test_a_runtime_may_be_named_where_docker_py_names_it(containers: Client) -> None:
    identifier = containers.create("true", Runtime="runc")
    assert containers.inspect(identifier)["HostConfig"]["Runtime"] == "runc"


def test_a_bad_name_is_400_and_a_taken_one_409(containers: Client) -> None:
    body = {"Image": IMAGE, "Cmd": ["true"]}
    assert containers.post("/containers/create?name=a%20b", body).status == 400
    assert containers.post("/containers/create?name=../../x", body).status == 400
    assert containers.post("/containers/create?name=%FF%00", body).status == 400
    identifier = containers.create("true", name="minidock-api-taken")
    answer = containers.post("/containers/create?name=minidock-api-taken", body)
    assert answer.status == 409
    assert (
        f'The container name "/minidock-api-taken" is already in use by container "{identifier}"'
        in answer.message
    )


def test_inspect_is_as_documented_before_and_after_a_run(containers: Client, schema: Any) -> None:
    identifier = containers.create("true", name="minidock-api-inspect", Labels={"a": "b"}, Env=["X=1"])
    created = containers.inspect(identifier)
    schema.validate(created, "GET", "/containers/{id}/json")
    assert created["State"]["Status"] == "created"
    assert created["Name"] == "/minidock-api-inspect"
    containers.start(identifier)
    containers.post(f"/containers/{identifier}/wait")
    ended = containers.inspect(identifier)
    schema.validate(ended, "GET", "/containers/{id}/json")
    assert ended["State"]["Status"] == "exited"
    assert ended["State"]["ExitCode"] == 0
    assert ended["Config"]["Labels"] == {"a": "b"}
    assert "X=1" in ended["Config"]["Env"]
    assert ended["HostConfig"]["NetworkMode"] == "none"
    assert ended["HostConfig"]["LogConfig"]["Type"] == "json-file"
    assert ended["Path"] == "true"


@pytest.mark.parametrize("form", ["{id}", "{short}", "minidock-api-form"])
def test_a_container_has_many_names(containers: Client, form: str) -> None:
    identifier = containers.create("true", name="minidock-api-form")
    reference = form.format(id=identifier, short=identifier[:12])
    assert containers.inspect(reference)["Id"] == identifier


@pytest.mark.only_minidock
def test_a_name_may_have_its_slash(containers: Client) -> None:
    identifier = containers.create("true", name="minidock-api-slash")
    assert containers.inspect("/minidock-api-slash")["Id"] == identifier
    assert containers.inspect("%2Fminidock-api-slash")["Id"] == identifier


def test_the_list_is_as_documented(containers: Client, schema: Any) -> None:
    identifier = containers.create("sleep", "100", name="minidock-api-list", Labels={"minidock-list": "1"})
    containers.start(identifier)
    found = containers.get('/containers/json?filters={"label":["minidock-list=1"]}').json
    schema.validate(found, "GET", "/containers/json")
    (summary,) = found
    assert summary["Id"] == identifier
    assert summary["Names"] == ["/minidock-api-list"]
    assert summary["Command"] == "sleep 100"
    assert isinstance(summary["Created"], int)
    assert summary["State"] == "running"
    assert summary["Status"].startswith("Up ")


def test_filters_of_the_cli_and_of_docker_py_select_the_same(containers: Client) -> None:
    ended, _ = containers.run("false", Labels={"minidock-filter": "1"})
    created = containers.create("true", Labels={"minidock-filter": "1"})
    for status, identifier in (("exited", ended), ("created", created)):
        cli = json.dumps({"status": {status: True}, "label": {"minidock-filter": True}})
        docker_py = json.dumps({"status": [status], "label": ["minidock-filter"]})
        for filters in (cli, docker_py):
            found = containers.get(f"/containers/json?all=1&filters={filters.replace(' ', '')}").json
            assert [summary["Id"] for summary in found] == [identifier]


def test_an_unknown_filter_is_400(client: Client) -> None:
    assert client.get('/containers/json?filters={"wings":["2"]}').status == 400


@pytest.mark.parametrize(
    ("word", "shown"), [("True", True), ("1", True), ("False", False), ("0", False), ("none", False)]
)
def test_booleans_of_both_clients(containers: Client, word: str, shown: bool) -> None:
    identifier = containers.create("true")
    found = {summary["Id"] for summary in containers.get(f"/containers/json?all={word}").json}
    assert (identifier in found) == shown


def test_wait_answers_its_headers_before_the_container_is_started(containers: Client) -> None:
    identifier = containers.create("sh", "-c", "exit 7")
    with contextlib.closing(
        containers.begin("POST", f"/containers/{identifier}/wait?condition=next-exit")
    ) as waiting:
        assert waiting.status == 200
        containers.start(identifier)
        assert json.loads(waiting.read())["StatusCode"] == 7


def test_wait_for_the_removal(containers: Client) -> None:
    identifier = containers.create("true", host={"AutoRemove": True})
    with contextlib.closing(
        containers.begin("POST", f"/containers/{identifier}/wait?condition=removed")
    ) as waiting:
        containers.start(identifier)
        assert json.loads(waiting.read())["StatusCode"] == 0
    assert containers.get(f"/containers/{identifier}/json").status == 404


@pytest.mark.only_minidock
def test_a_bad_wait_condition_is_400(containers: Client) -> None:
    identifier = containers.create("true")
    answer = containers.post(f"/containers/{identifier}/wait?condition=whenever")
    assert answer.status == 400
    assert answer.message == 'invalid condition: "whenever"'


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_exit_codes_are_exact(containers: Client, script: str, code: int) -> None:
    # A child, because a pid 1 is immune to signals without a handler.
    assert containers.run("sh", "-c", f"sh -c '{script}'; exit $?")[1] == code


def test_starting_what_runs_is_304_and_so_is_stopping_what_does_not(containers: Client) -> None:
    identifier = containers.create("sleep", "100", StopSignal="SIGKILL")
    assert containers.post(f"/containers/{identifier}/stop").status == 304
    containers.start(identifier)
    assert containers.post(f"/containers/{identifier}/start").status == 304
    assert containers.post(f"/containers/{identifier}/stop?t=1").status == 204


def test_a_missing_program_is_400_with_the_words_that_make_127(containers: Client) -> None:
    identifier = containers.create("no-such-program")
    answer = containers.post(f"/containers/{identifier}/start")
    assert answer.status == 400
    assert "executable file not found in $PATH" in answer.message
    assert containers.inspect(identifier)["State"]["ExitCode"] == 127


def test_a_directory_is_no_program(containers: Client) -> None:
    identifier = containers.create("/etc")
    answer = containers.post(f"/containers/{identifier}/start")
    assert answer.status == 400
    assert "permission denied" in answer.message.lower()
    assert containers.inspect(identifier)["State"]["ExitCode"] == 126


def test_kill_with_signals_in_every_spelling(containers: Client) -> None:
    for spelling in ("SIGKILL", "KILL", "9"):
        identifier = containers.create("sleep", "100")
        containers.start(identifier)
        assert containers.post(f"/containers/{identifier}/kill?signal={spelling}").status == 204
        assert containers.post(f"/containers/{identifier}/wait").json["StatusCode"] == 137


def test_kill_of_what_does_not_run_is_409_and_a_bad_signal_400(containers: Client) -> None:
    identifier = containers.create("sleep", "100")
    answer = containers.post(f"/containers/{identifier}/kill")
    assert answer.status == 409
    assert "is not running" in answer.message
    containers.start(identifier)
    assert containers.post(f"/containers/{identifier}/kill?signal=WINGS").status == 400


def test_stop_waits_and_then_kills(containers: Client) -> None:
    identifier = containers.create("sh", "-c", "trap '' TERM; while true; do sleep 1; done")
    containers.start(identifier)
    assert containers.post(f"/containers/{identifier}/stop?t=1").status == 204
    assert containers.inspect(identifier)["State"]["ExitCode"] == 137


def test_restart_gives_a_new_process(containers: Client) -> None:
    identifier = containers.create("sleep", "100", StopSignal="SIGKILL")
    containers.start(identifier)
    first = containers.inspect(identifier)["State"]["Pid"]
    assert containers.post(f"/containers/{identifier}/restart?t=1").status == 204
    state = containers.inspect(identifier)["State"]
    assert state["Running"]
    assert state["Pid"] != first


def test_pause_and_unpause(containers: Client) -> None:
    identifier = containers.create("sleep", "100")
    assert containers.post(f"/containers/{identifier}/pause").status == 409
    containers.start(identifier)
    assert containers.post(f"/containers/{identifier}/pause").status == 204
    assert containers.inspect(identifier)["State"]["Status"] == "paused"
    assert containers.request("POST", f"/containers/{identifier}/attach?stream=1&stdout=1").status == 409
    assert containers.post(f"/containers/{identifier}/unpause").status == 204
    assert containers.inspect(identifier)["State"]["Status"] == "running"


def test_rename(containers: Client) -> None:
    identifier = containers.create("true", name="minidock-api-before")
    assert containers.post(f"/containers/{identifier}/rename?name=minidock-api-after").status == 204
    assert containers.inspect("minidock-api-after")["Id"] == identifier
    assert containers.get("/containers/minidock-api-before/json").status == 404


def test_remove_needs_force_for_what_runs(containers: Client) -> None:
    identifier = containers.create("sleep", "100", name="minidock-api-running")
    containers.start(identifier)
    answer = containers.delete(f"/containers/{identifier}")
    assert answer.status == 409
    assert "force" in answer.message
    advice = "top the container before attempting removal or force remove"
    for verb, status, first in (("start", "running", "S"), ("pause", "paused", "Unpause and then s")):
        containers.post(f"/containers/{identifier}/{verb}")
        answer = containers.delete(f"/v1.41/containers/{identifier}")  # as Docker said it before version 25
        assert answer.message == f"You cannot remove a {status} container {identifier}. {first}{advice}"
    assert containers.delete(f"/containers/{identifier}?force=1").status == 204
    assert containers.get(f"/containers/{identifier}/json").status == 404


@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("GET", "/json"),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("POST", "/wait"),
        ("POST", "/kill"),
        ("DELETE", ""),
        ("GET", "/logs?stdout=1"),
        ("POST", "/attach?stream=1"),
        ("POST", "/resize?h=1&w=1"),
        ("POST", "/pause"),
    ],
)
def test_what_does_not_exist_is_404(client: Client, method: str, suffix: str) -> None:
    answer = client.request(method, f"/containers/no-such-container{suffix}")
    assert answer.status == 404
    assert b"No such container: no-such-container" in answer.body


def test_resize_needs_numbers_and_a_running_container(containers: Client) -> None:
    identifier = containers.create("sleep", "100", Tty=True)
    assert containers.post(f"/containers/{identifier}/resize?h=x&w=80").status == 400
    assert containers.post(f"/containers/{identifier}/resize?h=24&w=80").status in (409, 500)
    containers.start(identifier)
    assert containers.post(f"/containers/{identifier}/resize?h=24&w=80").status == 200


@pytest.mark.only_minidock
def test_an_explained_start_answers_its_trace(containers: Client) -> None:
    identifier = containers.create("true")
    answer = containers.post(f"/containers/{identifier}/start?explain=1")
    assert answer.status == 200
    steps = [record["step"] for record in answer.lines]
    assert len(steps) > 3
    failing = containers.create("no-such-program")
    failed = containers.post(f"/containers/{failing}/start?explain=1")
    assert failed.status == 400
    assert "not found" in failed.lines[-1]["message"]


def test_twenty_containers_at_once(containers: Client) -> None:
    codes: list[int] = []
    scripts = [f"exit {number}" for number in range(20)]
    threads = [
        threading.Thread(target=lambda script=script: codes.append(containers.run("sh", "-c", script)[1]))
        for script in scripts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(20))
