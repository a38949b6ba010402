"""Every console block of the pages is run as it stands, in the order of its page, on an engine of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.made import commands_2014, served, transcript
from docs.made.transcript import Block
from setup.stage import Stage
from tests.pages import perform_block, stage_for_pages
from tests.transcript import Ids, agrees, run

PAGES = transcript.pages()
# What `docker help` of 0.10 lists.
ALL_32 = frozenset(
    """
    attach build commit cp diff events export history images import info inspect kill load login logs port
    ps pull push restart rm rmi run save search start stop tag top version wait
    """.split()  # noqa: SIM905  (a list of 32 literals would hide the words)
)

PUZZLES = (
    "intermediate images", "`-i` and `-t`", "`Unrecognized input header`", "prints `Welcome!`",
    "`:::22222`", '`--volumes-from=["data"]`', "waiting for lo to become free",
)  # fmt: skip


@pytest.fixture(scope="module")
def stage_of_commands(docker_clients: list[str]) -> Iterator[Stage]:
    """One engine for the examples of all commands: each removes what it made."""
    assert docker_clients, "./test unpacks a docker client"
    with stage_for_pages(docker_clients[0]) as engine:
        run("minidock run --rm hostbox true", engine.environment(), "/")
        yield engine


def perform(blocks: list[Block], stage: Stage, directory: Path) -> int:
    """Run the blocks that this version serves; return how many commands that were."""
    ids = Ids()
    return sum(
        perform_block(
            block.text, stage, directory, ids, f"{block.page}:{block.line}", is_terminal=block.is_terminal
        )
        for block in blocks
        if not block.missing
    )


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_a_page_shows_what_really_happens(page: Path, stage: Stage, tmp_path: Path) -> None:
    blocks = transcript.blocks(page)
    assert perform(blocks, stage, tmp_path) or all(block.missing for block in blocks)


def test_the_example_for_docker_py_runs(stage: Stage) -> None:
    page = (transcript.DOCS / "howto" / "clients.md").read_text()
    example = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    answer = subprocess.run(
        [sys.executable, "-c", example], env=stage.environment(), capture_output=True, text=True, check=False
    )
    assert answer.stdout == "b'hello\\n'\n", answer.stderr


@pytest.mark.parametrize("command", commands_2014.load(), ids=lambda command: command.name)
def test_a_command_of_2014_does_what_its_row_shows(
    command: commands_2014.Command, stage_of_commands: Stage, tmp_path: Path
) -> None:
    examples = command.blocks()
    assert examples or "registry" in command.needs or not command.is_served, "what works has an example"
    environment = stage_of_commands.environment()
    try:
        done = perform(examples, stage_of_commands, tmp_path)
        assert done or not command.is_served or not examples
        assert run("docker ps -a -q", environment, "/") == "", "an example removes what it made"
    finally:
        run("docker ps -a -q | xargs -r docker rm -f", environment, "/")


def test_all_32_commands_of_2014_are_there_with_their_forms_in_two_languages() -> None:
    commands = commands_2014.load()
    assert {command.name for command in commands} == ALL_32
    for command in commands:
        assert command.forms
        assert all(
            form.startswith("docker ") and english and chinese for form, english, chinese in command.forms
        )
        assert bool(command.today) == bool(command.today_zh), command.name


def test_each_of_the_seven_puzzles_is_made_to_happen_again() -> None:
    page = transcript.DOCS / "explanation" / "puzzles.md"
    headings = re.findall(r"^## (\d)\. (.+)$", page.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in headings] == list(range(1, 8))
    for (_, heading), words in zip(headings, PUZZLES, strict=True):
        assert words in heading
    starts = [page.read_text().count("\n", 0, page.read_text().index(f"## {n}. ")) for n in range(1, 8)]
    run_in = [
        sum(start <= block.line for start in starts) for block in transcript.blocks(page) if not block.missing
    ]
    assert set(run_in) == set(range(1, 8)), "a puzzle without a block that is run"


def test_the_pages_are_found_and_most_of_their_blocks_are_run() -> None:
    blocks = [block for page in PAGES for block in transcript.blocks(page)]
    assert len(PAGES) >= 8
    assert sum(not block.missing for block in blocks) > len(blocks) / 2


def test_a_block_needs_only_what_some_table_knows() -> None:
    blocks = [block for page in PAGES for block in transcript.blocks(page)]
    blocks += [block for command in commands_2014.load() for block in command.blocks()]
    for block in blocks:
        assert isinstance(block.missing, list)
    with pytest.raises(KeyError):
        served.is_served("GET /no/such/route")


def test_the_chinese_pages_have_the_same_examples() -> None:
    for page in sorted((transcript.DOCS / "zh").glob("*.md")):
        english = transcript.DOCS / page.name
        if english.exists():
            ours = [block.text for block in transcript.blocks(page)]
            assert ours == [block.text for block in transcript.blocks(english)], page


@pytest.mark.parametrize(
    ("expected", "shown", "same"),
    [
        ("a  b\n", "a b\n", True),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("...\n", "anything\n", True),
        ("Up 2 seconds\n", "Up About a minute\n", True),
        ("4.26MB x\n", "1.99MB x\n", True),
        (f"{'a' * 12}\n{'a' * 12}\n", f"{'b' * 12}\n{'b' * 12}\n", True),
        (f"{'a' * 64}\n{'a' * 12}\n", f"{'b' * 64}\n{'b' * 12}\n", True),
        (f"{'a' * 12}\n{'a' * 12}\n", f"{'b' * 12}\n{'c' * 12}\n", False),
        (f"{'a' * 12}\n{'b' * 12}\n", f"{'c' * 12}\n{'c' * 12}\n", False),
        ("pid 12, 1 inside\n", "pid 345, 6 inside\n", True),
        ("/var/lib/minidock/x\n", "/var/tmp/minidock-demo-a1_b/data/x\n", True),
        ("minidock0 172.17.0.1/16\n", "md-0123456789 172.20.0.1/16\n", True),
        ("the host's\n", "not the host's\n", False),
        ("uts:[1]  ipc:[1]\n", "uts:[12] ipc:[34]\n", True),
        ("uts:[1]  uts:[1]\n", "uts:[12] uts:[34]\n", False),
        ("uts:[1]  uts:[2]\n", "uts:[12] uts:[12]\n", False),
        (
            "mount 2 on 1, shared:1\nmount 3 on 2, master:1\n",
            "mount 9 on 7, shared:9\nmount 5 on 9, master:9\n",
            True,
        ),
        (
            "mount 2 on 1, shared:1\nmount 3 on 1, master:1\n",
            "mount 9 on 7, shared:9\nmount 5 on 9, master:9\n",
            False,
        ),
        (
            "mount 2 on 1, shared:1\nmount 3 on 2, shared:2\n",
            "mount 9 on 7, shared:9\nmount 5 on 9, shared:9\n",
            False,
        ),
        ("pipe:[1]\n/proc/3\n", "pipe:[22]\n/proc/4\n", True),
        ("a\n", "b\n", False),
        ("a\n...\nz\n", "a\nb\n", False),
        ("a [1]?\n", "a 1x\n", False),
        ("\n", "a\n", False),
        ("a\n", "a\nb\n", False),
    ],
)
def test_output_is_compared_by_its_form(expected: str, shown: str, same: bool) -> None:
    assert agrees(expected, shown) is same


def test_a_command_uses_this_runs_id() -> None:
    ids = Ids()
    assert agrees("a" * 64 + "\n", "b" * 64 + "\n", ids)
    assert ids.translate(f"docker start {'a' * 12} {'c' * 12}") == f"docker start {'b' * 12} {'c' * 12}"


def test_a_namespace_is_the_same_on_a_whole_page_and_a_pipe_is_not() -> None:
    ids = Ids()
    assert agrees("uts:[1] pipe:[1]\n", "uts:[12] pipe:[12]\n", ids)
    assert agrees("pipe:[1]\n", "pipe:[34]\n", ids)
    assert not agrees("uts:[1]\n", "uts:[34]\n", ids)
    assert not agrees("uts:[2]\n", "uts:[12]\n", ids)
    ids.begin_block()
    assert agrees("uts:[3]\n", "uts:[12]\n", ids)
    assert not agrees("uts:[1]\n", "uts:[56]\n", ids)


def test_a_here_document_belongs_to_its_command() -> None:
    block = "$ cat <<'E'\n> one\n> E\none\n$ true\n"
    assert transcript.steps(block) == [("cat <<'E'\none\nE", "one\n"), ("true", "")]
