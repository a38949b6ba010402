"""The graders themselves: right work passes, however it is written; wrong work fails and is told why.

All files of a chapter are graded once; the tests look at the resulting table of verdicts.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minidock.learn import chapters, mutants, source
from tests.learn.conftest import KILL_MATRIX

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.timeout(600)  # some two hundred files are graded first
NUMBERS = [chapter.number for chapter in chapters.written()]
Verdicts = dict[str, str | None]


@dataclass
class Proof:
    """Everything that was graded for one chapter: name of the file -> check -> words of the failure."""

    chapter: chapters.Chapter
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    deletions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def failed(self, name: str) -> list[str]:
        return [check for check, words in self.verdicts[name].items() if words is not None]

    def kinds(self, kind: str) -> list[str]:
        return [name for name in self.verdicts if name.startswith(f"{kind}:")]

    def messages(self, name: str) -> str:
        return "\n".join(words for words in self.verdicts[name].values() if words)


def pieces(proof: Proof) -> dict[str, str]:
    """Return every file that a chapter's grader is tried on."""
    chapter, solved = proof.chapter, source.solution(proof.chapter)
    found = {"start": source.start(chapter), "solution": solved}
    for path in sorted((HERE / "alternatives" / chapter.name).glob("*.py")):
        found[f"alternative:{path.stem}"] = path.read_text()
    for mutant in mutants.load(chapter):
        found[f"mutant:{mutant.name}"] = mutant.applied(solved)
    for number, (function, statement, text) in enumerate(source.statements(solved)):
        name = f"deletion:{number}"
        proof.deletions[name] = (function, statement)
        found[name] = text
    return found | {f"impostor:{name}": text for name, text in impostors(chapter).items()}


def impostors(chapter: chapters.Chapter) -> dict[str, str]:
    """Return files that do not do the work."""
    names = chapter.functions
    engine = [seam for seam in chapter.seams if not seam.own]
    imported = "".join(f"from {seam.module} import {seam.function}\n" for seam in engine)
    wrapped = "".join(
        f"import {seam.module} as m{number}\n"
        f"def {seam.function}(*a, **k):\n    return m{number}.{seam.function}(*a, **k)\n"
        for number, seam in enumerate(engine)
    )
    return {
        "empty": "",
        "does nothing": "".join(f"def {name}(*a, **k):\n    pass\n" for name in names),
        "only returns": "".join(f"def {name}(*a, **k):\n    return 0\n" for name in names),
        "only execs": "import os\n"
        + "".join(f"def {name}(*a, **k):\n    os.execv('/bin/cat', ['/bin/cat'])\n" for name in names),
        "exports the engine's again": imported,
        "wraps the engine's": wrapped,
        "is not Python": "def f(:\n",
        "exits": "".join(f"def {name}(*a, **k):\n    raise SystemExit(0)\n" for name in names),
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let one worker grade a chapter's files once (--dist loadgroup), while another grades the next one's.

    Marks on a fixture's own parameters would not reach the tests.
    """
    if "proof" in metafunc.fixturenames:
        numbers = [
            pytest.param(number, marks=pytest.mark.xdist_group(f"chapter {number}"), id=f"chapter {number}")
            for number in NUMBERS
        ]
        metafunc.parametrize("proof", numbers, indirect=True, scope="module")


@pytest.fixture(scope="module")
def proof(request: pytest.FixtureRequest) -> Proof:
    result = Proof(chapters.chapter(request.param))
    answer = subprocess.run(
        [sys.executable, "-B", "-m", "tests.learn.proof", str(request.param)],
        cwd=HERE.parent.parent,
        input=json.dumps(pieces(result)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    result.verdicts = json.loads(answer.stdout)
    return result


def matrix(proof: Proof) -> str:
    """Draw which check kills which mutant."""
    checks = list(proof.verdicts["solution"])
    lines = [f"chapter {proof.chapter.number}: kill matrix"]
    lines += [f"  {chr(97 + number)} {check}" for number, check in enumerate(checks)]
    for name in proof.kinds("mutant"):
        marks = "".join("X" if check in proof.failed(name) else "." for check in checks)
        lines.append(f"  {marks}  {name}")
    return "\n".join(lines)


def test_there_are_chapters() -> None:
    assert len(NUMBERS) >= 4
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS


def test_the_start_file_fails_every_check(proof: Proof) -> None:
    assert proof.failed("start") == list(proof.verdicts["start"])


def test_the_start_file_hands_over_all_that_the_engines_own_functions_use(proof: Proof) -> None:
    """Who has the page and the start file only must not have to guess a name of ours."""
    text, solved = source.start(proof.chapter), source.solution(proof.chapter)
    head = ast.get_docstring(ast.parse(text)) or ""
    ours = {
        name
        for line in re.findall(r"^from minidock.*import (.*)$", text, re.MULTILINE)
        for name in line.split(", ")
    }
    used = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(solved))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours
    }
    used |= {name for name in ours if name[0].isupper()}
    assert [name for name in sorted(used) if name not in head] == []


def test_the_engines_own_functions_pass(proof: Proof) -> None:
    assert proof.messages("solution") == ""
    assert proof.verdicts["solution"]


def test_other_correct_solutions_pass(proof: Proof) -> None:
    names = proof.kinds("alternative")
    assert len(names) >= 5
    assert {name: proof.messages(name) for name in names if proof.failed(name)} == {}


def test_every_mutant_fails(proof: Proof) -> None:
    names = proof.kinds("mutant")
    assert len(names) >= len(proof.verdicts["solution"])
    assert [name for name in names if not proof.failed(name)] == []


def test_a_mutants_message_names_the_faulty_step(proof: Proof) -> None:
    unclear = {}
    for mutant in mutants.load(proof.chapter):
        said = proof.messages(f"mutant:{mutant.name}")
        if mutant.clue not in said:
            unclear[mutant.name] = (mutant.clue, said)
    assert unclear == {}


def test_every_check_kills_a_mutant_that_no_other_kills(
    proof: Proof, record_property: Callable[[str, object], None]
) -> None:
    record_property(KILL_MATRIX, matrix(proof))
    alone = {failed[0] for name in proof.kinds("mutant") if len(failed := proof.failed(name)) == 1}
    assert set(proof.verdicts["solution"]) - alone == set()


def test_no_statement_can_be_left_out_unnoticed(proof: Proof) -> None:
    known = {(each.function, each.statement) for each in proof.chapter.survivors}
    alive = {proof.deletions[name] for name in proof.kinds("deletion") if not proof.failed(name)}
    assert alive == known
    assert len(proof.deletions) > len(known)


def test_work_that_was_not_done_fails(proof: Proof) -> None:
    assert [name for name in proof.kinds("impostor") if not proof.failed(name)] == []
    assert len(proof.kinds("impostor")) >= 6
