"""The page of the commands of 2014 has every form that the notes of 2014 have, and each form is run.

A form that is taken off the page, or whose example goes, fails here by its name.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.made import commands_2014, transcript
from docs.made.commands_2014 import Command
from tests.docs.seed_forms import LISTED, TYPED

CHECKOUT = Path(__file__).resolve().parents[2]
NOTES = CHECKOUT.parent / "shared" / "seed" / "docker-4-summary.md"
PAGE = transcript.DOCS / "reference" / "commands-2014.md"
COMMANDS = {command.name: command for command in commands_2014.load()}
# A word (with quotes, <placeholders> and [options] in it), or what stands between two commands, or a `<`.
TOKEN = re.compile(
    r"""(?:"[^"]*"|'[^']*'|<[^<>\s][^<>]*>|\[[^\]]*\]|\$\{[^}]*\}|[^\s|;&`<>"'()])+|[|;&`<>()]"""
)
BETWEEN = ("|", ";", "&", "`", ">", "(", ")")
# Flags of 2014 that have a value in the next word.
WITH_VALUE = {
    *("-a commit", "-t build", "-p run", "-v run", "--name run", "--name create", "--volumes-from run"),
    *("--since events", "--until events", "--filter ps", "-s kill", "-t stop", "-t restart", "-H"),
}


@dataclass(frozen=True)
class Call:
    """One call of docker: its verb ("" for none), its flags, and whether it reads a file or a pipe."""

    verb: str
    flags: frozenset[str]
    operands: int

    def runs(self, form: "Call") -> bool:
        """Tell whether this call, as it was typed, is one of the form `form`: it may have more flags."""
        return self.verb == form.verb and form.flags <= self.flags and self.operands >= form.operands


def calls(line: str) -> Iterator[Call]:
    """Yield the calls of docker in a command line, or in a form with `<placeholders>`, in their order."""
    words: list[str] = []
    for token in [*TOKEN.findall(line), ";"]:
        if token not in BETWEEN:
            words.append(token)
            continue
        found = [index for index, word in enumerate(words) if word in ("docker", "minidock")]
        if found:
            yield _call(words[found[0] + 1 :])
        words = []


def _call(words: list[str]) -> Call:
    verb = words[0] if words and not words[0].startswith("-") else ""
    flags, operands, is_value = set[str](), 0, False
    for word in words[1:] if verb else words:
        if is_value:
            is_value = False
        elif word == "<" or (word.startswith("-") and word != "-"):
            flags |= {f"-{letter}" for letter in word[1:]} if re.fullmatch(r"-[a-z]{2,}", word) else set()
            flags.add(word.partition("=")[0])
            is_value = f"{word} {verb}".strip() in WITH_VALUE
        else:
            operands += 1
    return Call(verb, frozenset(flags), operands)


def alternatives(form: str) -> list[str]:
    """Return the forms that one form of the notes stands for: with and without what it says is optional."""
    verbs = re.search(r"docker (\w+(?:/\w+)+) ", form)
    if verbs:
        return [form.replace(verbs[1], verb) for verb in verbs[1].split("/")]
    return [form]


def on_page(commands: Iterable[Command]) -> set[str]:
    """Return every form on the page: those in the tables, and those in its own text."""
    forms = {form for command in commands for form, _, _ in command.forms}
    return forms | set(re.findall(r"`(docker[^`]*)`", PAGE.read_text()))


def missing(commands: Iterable[Command]) -> list[str]:
    """Return the forms of the notes that the page does not have."""
    present = on_page(commands)
    return [form for listed in LISTED for form in alternatives(listed) if form not in present]


def typed_in_examples(commands: Iterable[Command]) -> list[str]:
    """Return every command line of the examples that this version runs."""
    blocks = [block for command in commands for block in command.blocks()] + transcript.blocks(PAGE)
    return [line for block in blocks if not block.missing for line, _ in transcript.steps(block.text)]


def not_run(forms: Iterable[str], lines: Iterable[str]) -> list[str]:
    """Return the forms of served commands that no example types. One line must have all calls of the form."""
    done = [list(calls(line)) for line in lines]
    return [
        form
        for form in forms
        if all(COMMANDS[call.verb].is_served for call in calls(form) if call.verb in COMMANDS)
        and not any(_in_order(list(calls(form)), typed) for typed in done)
    ]


def _in_order(wanted: list[Call], typed: list[Call]) -> bool:
    rest = iter(typed)
    return all(any(call.runs(form) for call in rest) for form in wanted)


def test_the_page_has_every_form_of_the_notes() -> None:
    assert missing(COMMANDS.values()) == []


def test_every_form_of_the_page_and_every_line_of_the_notes_is_run() -> None:
    lines = typed_in_examples(COMMANDS.values())
    assert not_run(sorted(on_page(COMMANDS.values())), lines) == []
    assert not_run(TYPED, lines) == []


@pytest.mark.parametrize("listed", LISTED[3:])
def test_a_form_that_is_taken_away_is_missed(listed: str) -> None:
    left = [
        Command(
            one.name,
            one.needs,
            tuple(row for row in one.forms if row[0] not in alternatives(listed)),
            "",
            "",
            (),
        )
        for one in COMMANDS.values()
    ]
    assert missing(left) == alternatives(listed)


def test_a_form_that_no_example_types_is_missed() -> None:
    lines = typed_in_examples(COMMANDS.values())
    assert (
        not_run(["docker ps -a -q | xargs docker rm"], [line for line in lines if "xargs" not in line]) != []
    )
    assert not_run(["docker rm -f -l <container>"], lines) == ["docker rm -f -l <container>"]
    assert not_run(["docker commit <container> [repo:tag]"], ["docker commit box"]) != []


@pytest.mark.parametrize(
    ("line", "verb", "flags", "operands"),
    [
        ("docker run -it -p 1:2 image sh", "run", {"-it", "-i", "-t", "-p"}, 2),
        ('docker commit -a "Name <mail>" box repo:tag', "commit", {"-a"}, 2),
        ("docker push <image|repository>:TAG", "push", set(), 1),
        ("docker export <container> > <file>", "export", set(), 1),
        ("docker build - < Dockerfile", "build", {"<"}, 2),
        ("x; echo a | docker load < file", "load", {"<"}, 1),
        ("docker", "", set(), 0),
        ("docker --help", "", {"--help"}, 0),
    ],
)
def test_a_command_line_is_taken_apart(line: str, verb: str, flags: set[str], operands: int) -> None:
    (call,) = calls(line)
    assert (call.verb, call.operands) == (verb, operands)
    assert flags <= call.flags


def test_the_forms_are_those_of_the_notes() -> None:
    """Where the notes lie beside the checkout, nothing of theirs is missing here and nothing is made up."""
    assert len(LISTED) == len(set(LISTED)) == 32
    assert len(TYPED) == len(set(TYPED)) == 23
    if not NOTES.is_file():
        return
    notes = NOTES.read_text(encoding="utf-8")
    listed = notes.partition("## 常用命令 ##")[2].partition("\n###")[0]
    bullets = re.findall(r"^\* (`{1,2})(docker.*?)\1(?!`)", listed, re.MULTILINE)
    helps = set(re.findall(r"`(docker(?: help)?)`", notes.partition("\n\t")[0]))
    alone = set(re.findall(r"^\t(docker --\w+|docker images --tree)$", notes, re.MULTILINE))
    assert {code for _, code in bullets} | helps | alone == set(LISTED)
    typed = re.findall(r"^\t(?:root@tankywoo-docker:\S* ?# )?(docker(?: .*)?)$", notes, re.MULTILINE)
    plain = {re.sub(r"\s+\[\d+/\d+\]$", "", line).strip() for line in typed}
    assert plain - {"docker --help"} == set(TYPED)
