"""The console blocks of pages, run: the engine behind them, and one block compared with what it prints.

`minidock` is this checkout's, and `sudo` means nothing.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docs.made.transcript import steps
from setup.stage import Stage
from tests.transcript import Ids, agrees, run, typed

CHECKOUT = str(Path(__file__).resolve().parent.parent)


@contextmanager
def stage_for_pages(docker: str) -> Iterator[Stage]:
    """Start an engine; the tests are root already, so `sudo` only runs what follows it."""
    with tempfile.TemporaryDirectory(prefix="minidock-page-") as directory:
        program = Path(directory) / "minidock"
        body = f"import sys\nsys.path.insert(0, {CHECKOUT!r})\nfrom minidock.cli.main import main\n"
        program.write_text(f"#!{sys.executable} -I\n{body}sys.exit(main())\n")
        program.chmod(0o755)
        with Stage(str(program), docker) as stage:
            sudo = stage.directory / "bin" / "sudo"
            sudo.write_text('#!/bin/sh\nexec "$@"\n')
            sudo.chmod(0o755)
            yield stage


def perform_block(
    text: str, stage: Stage, directory: Path, ids: Ids, where: str, is_terminal: bool = False
) -> int:
    """Run the commands of one block in `directory`; return how many there were. Fails with what differs.

    In a terminal the lines after a prompt are typed, and `^P` and its like are control characters.
    """
    environment, folder = stage.environment(), f"{stage.directory}/minidock-learn"
    ids.begin_block()
    block = steps(text)
    for command, output in block:
        expected = output
        line = ids.translate(command)
        if is_terminal:
            words = re.findall(r"^/ # ?(.*)$", expected, re.MULTILINE)
            shown = typed(line, [ids.translate(word) for word in words], environment, str(directory))
            expected = re.sub(r"^/ # (\^[A-Z])+$", "/ # ", expected, flags=re.MULTILINE)
        else:
            shown = run(line, environment, str(directory)).replace(folder, "/root/minidock-learn")
        if not agrees(expected, shown, ids):
            pytest.fail(f"{where}\n$ {line}\n{shown}\nbut the page shows\n{expected}", pytrace=False)
    return len(block)
