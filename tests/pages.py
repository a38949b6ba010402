"""An engine behind the console blocks of a page: `minidock` is this checkout's, and `sudo` means nothing."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setup.stage import Stage

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
