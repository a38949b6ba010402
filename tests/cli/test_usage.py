import re

import pytest

from minidock.cli.commands import GROUPS, VERBS
from minidock.cli.main import load
from minidock.cli.usage import command_help, wrap
from tests.cli.conftest import Run

SAME_AS_DOCKERS = [
    "ps",
    "logs",
    "inspect",
    "stop",
    "kill",
    "rm",
    "import",
    "tag",
    "wait",
    "info",
    "restart",
    "pause",
    "unpause",
    "rename",
    "top",
    "port",
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_fits_a_terminal(verb: str) -> None:
    text = command_help(load(VERBS[verb][0], verb), verb)
    assert text.startswith(f"Usage:  minidock {verb}")
    assert max(map(len, text.splitlines()[4:]), default=0) <= 110


@pytest.mark.parametrize("group", GROUPS)
def test_every_word_of_a_group_leads_to_a_verb(group: str) -> None:
    for word, (module, _) in GROUPS[group].items():
        assert load(module, f"{group} {word}").run


@pytest.mark.parametrize("verb", SAME_AS_DOCKERS)
def test_help_reads_like_dockers(verb: str, minidock: Run, docker: Run) -> None:
    ours, theirs = minidock(verb, "--help"), docker(verb, "--help")
    assert ours.stdout.decode().replace("minidock", "docker") == theirs.stdout.decode()
    assert ours.returncode == theirs.returncode == 0


def test_the_flags_of_run_are_dockers_but_for_a_known_few(minidock: Run, docker: Run) -> None:
    ours, theirs = (
        set(re.findall(rb"--[a-z0-9-]+ ", cli("run", "--help").stdout)) for cli in (minidock, docker)
    )
    assert ours - theirs == {b"--explain "}
    left_out = ("disable-content-trust", "gpus", "isolation", "kernel-memory", "use-api-socket")
    assert theirs - ours == {f"--{name} ".encode() for name in left_out}


def test_wrapping_keeps_words_and_line_breaks() -> None:
    text = "one two three four five six seven eight nine ten\nnext line"
    assert wrap(text, 20, 50).replace("\n" + " " * 20, " ").split() == text.split()
    assert "\n" + " " * 20 + "next" in wrap(text, 20, 50)
