"""What `docker info` says of the host: compared with the host's own tools."""

import subprocess
from pathlib import Path

from minidock.engine.info import backing_filesystem


def test_the_backing_file_system_is_what_findmnt_says(tmp_path: Path) -> None:
    command = ["findmnt", "-n", "-o", "FSTYPE", "--target", str(tmp_path)]
    kind = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert backing_filesystem(str(tmp_path)) == ("extfs" if kind.startswith("ext") else kind)


def test_proc_is_proc() -> None:
    assert backing_filesystem("/proc") == "proc"
