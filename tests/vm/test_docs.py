"""The page "In a virtual machine": what it shows, the machine shows."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.conftest import ENGINE

if TYPE_CHECKING:
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

PAGE = Path(__file__).parents[2] / "docs" / "vm.md"
BLOCK = re.compile(r"<!-- tested in the machine -->\n```console\n(.*?)```", re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """Return each command line of the page's tested blocks with what it is to print."""
    text = "".join(BLOCK.findall(PAGE.read_text()))
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(part.split("\n", 1)[0], part.split("\n", 1)[1]) for part in parts]


def test_a_transcript_shows_what_happens_in_the_machine(service: "Machine") -> None:
    shown = steps()
    assert len(shown) >= 4
    for command, expected in shown:
        answer = service.run(f"export {ENGINE}; {command}", root=False)
        assert answer.stdout == expected, f"$ {command}\n{answer.stdout}{answer.stderr}"
