import subprocess

import pytest

from tests.cli.conftest import MINIDOCK, Recorder, environment

# each costs more than the whole of `ps`, or draws in something that does
STANDARD = {
    "argparse",
    "dataclasses",
    "email",
    "enum",
    "http",
    "inspect",
    "json",
    "logging",
    "re",
    "socket",
    "ssl",
}
OTHERS = {
    "minidock.api",
    "minidock.engine",
    "minidock.formats.gotemplate",
    "minidock.cli.endpoint",
    "minidock.cli.tls",
    "minidock.paths",
    "msgspec",
}
TOO_HEAVY = STANDARD | OTHERS | {"typing", "urllib"}


def modules(recorder: Recorder, *words: str) -> set[str]:
    """Return what has been imported when a command ends."""
    program = MINIDOCK[-1].replace("import run_and_exit; run_and_exit()", "import main")
    program += f"; main({list(words)!r}); print('|'.join(sys.modules), file=sys.stderr)"
    command = [*MINIDOCK[:-1], program]
    answer = subprocess.run(
        command, env=environment(recorder.host), capture_output=True, check=True, text=True
    )
    return set(answer.stderr.splitlines()[-1].split("|"))


@pytest.mark.parametrize("words", [("ps",), ("create", "busybox"), ("stop", "x"), ("images",)])
def test_a_command_imports_only_what_it_needs(words: tuple[str, ...], recorder: Recorder) -> None:
    loaded = modules(recorder, *words)
    assert "minidock.cli.client" in loaded
    assert loaded & TOO_HEAVY == set()


def test_a_verb_does_not_load_the_other_verbs(recorder: Recorder) -> None:
    loaded = modules(recorder, "ps")
    assert "minidock.cli.ps" in loaded
    assert loaded.isdisjoint({"minidock.cli.run", "minidock.cli.images", "minidock.cli.create_flags"})
