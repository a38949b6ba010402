import io
import json
import re
from pathlib import Path

from minidock.explain.narrate import CHAPTERS, STORY, narrate

MINIDOCK = Path(__file__).parents[2] / "minidock"
TRACED = ("runtime", "engine")


def told(*records: dict[str, object]) -> str:
    out = io.StringIO()
    narrate([json.dumps(record) for record in records], out)
    return out.getvalue()


def test_steps_are_told_in_the_order_of_their_begin() -> None:
    text = told(
        {"step": "exec", "time_ns": 500, "function": "m:execute", "arguments": ["sh", "-c"]},
        {"step": "clone init", "time_ns": 900, "duration_ns": 800, "function": "m:clone"},
    )
    assert text.index("1. clone init") < text.index("2. exec")
    assert "m:clone; chapter 4, namespaces" in text
    assert "with: arguments=sh,-c" in text
    assert "without it: " in text


def test_a_step_nobody_wrote_about_is_told_with_its_facts() -> None:
    assert told({"step": "brew tea", "duration_ns": 1_500_000, "pot": 3}).split() == (
        ["1.", "brew", "tea", "1.50", "ms", "with:", "pot=3"]
    )


def test_a_failed_step_says_why() -> None:
    text = told({"step": "exec", "error": "no such file"})
    assert "failed: no such file" in text
    assert "without it" not in text


def test_the_table_knows_every_step_that_is_recorded() -> None:
    pattern = re.compile(r'(?:\bstep\(|step\.begin\(|\.step\(|with step\()\s*"([a-z][^"]+)"')
    files = [path for package in TRACED for path in (MINIDOCK / package).glob("*.py")]
    found = {name for path in files for name in pattern.findall(path.read_text())}
    assert {"clone init", "plug in the interface"} <= found
    assert found - set(STORY) == set()
    assert set(STORY) - found == set(), "a story about a step that nobody takes"
    assert {chapter for _, chapter, _ in STORY.values()} <= set(CHAPTERS)
