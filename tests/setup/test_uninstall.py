"""Taking everything back: what it says first, and that it refuses while something runs out of what would go.

Everything that it would touch is replaced: nothing on this machine is ended or removed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from setup import in_use, packages, places, privilege, record, remains, uninstall


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let `uninstall` know a machine that lies in `tmp_path`, with a cache and no packages."""
    for name in ("opt", "cache/minidock"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(places, "SYSTEM", tmp_path / "opt")
    monkeypatch.setattr(places, "cache", lambda: tmp_path / "cache" / "minidock")
    monkeypatch.setattr(uninstall, "EXEC_ROOT", tmp_path / "run")
    monkeypatch.setattr(uninstall, "DATA_ROOT", tmp_path / "lib")
    monkeypatch.setattr(uninstall, "CGROUP_PARENT", f"/minidock-test-uninstall-{os.getpid()}")
    monkeypatch.setattr(record, "read", record.Record)
    monkeypatch.setattr(packages, "removable", lambda _names: ([], []))
    monkeypatch.setattr(privilege, "run_step", lambda *_words: 0)
    return tmp_path


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that reads its input for ever."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"ready\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


def program(directory: Path) -> str:
    """Put a program into `directory` and return it."""
    return shutil.copy("/bin/cat", directory / "cat")


def test_who_runs_a_program_of_it_or_holds_a_file_of_it_open_uses_a_directory(tmp_path: Path) -> None:
    used, other = tmp_path / "used", tmp_path / "used-too"
    for directory in (used, other):
        directory.mkdir()
    link = used / "python"
    link.symlink_to(sys.executable)
    (used / "disk").write_text("")
    reads = "import sys; [print(line, end='', flush=True) for line in sys.stdin]"
    with (
        running(program(used)) as by_program,
        running(str(link), "-S", "-c", reads) as by_name,
        running("sh", "-c", 'exec 3< "$0"; exec cat', str(used / "disk")) as by_file,
        running(program(other)) as elsewhere,
    ):
        found = in_use.processes([used], set())
        assert set(found) == {by_program.pid, by_name.pid, by_file.pid}
        assert set(found.values()) == {used}
        assert set(in_use.processes([used], {by_file.pid})) == {by_program.pid, by_name.pid}
        assert set(in_use.processes([other], set())) == {elsewhere.pid}
        assert in_use.command(elsewhere.pid) == str(other / "cat")[: in_use.SHOWN]
    assert in_use.processes([used, other], set()) == {}


def test_the_caller_and_whoever_called_it_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    code = "import sys; from setup import in_use; print(in_use.processes([sys.argv[1]], set()))"
    line = 'exec 3< "$1/log"; "$2" -B -c "$3" "$1"; exit $?'
    answer = subprocess.run(
        ["sh", "-c", line, "sh", tmp_path, sys.executable, code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout == "{}\n"


@pytest.mark.parametrize("place", ["opt", "cache/minidock"])
def test_what_is_in_use_is_not_removed_unless_it_is_forced(
    machine: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = str(machine / place / "cat")[: in_use.SHOWN]
    with running(program(machine / place)) as user:
        with pytest.raises(privilege.Refused, match=f"{user.pid}  uses {machine / place}: {shown}"):
            uninstall.main(data=False)
        with pytest.raises(privilege.Refused, match="on all the same with --force"):
            uninstall.take_back(str(machine / "cache" / "minidock"), data=False, force=False)
        assert user.poll() is None
        assert (machine / place / "cat").exists()
        assert uninstall.main(data=False, force=True) == 0
        uninstall.take_back(str(machine / "cache" / "minidock"), data=False, force=True)
        assert user.poll() is None, "it is told of and never ended"
    assert not (machine / place).exists()
    assert "Done." in capsys.readouterr().out


def test_the_engines_own_processes_are_no_hindrance(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(program(machine / "opt")) as engine:
        monkeypatch.setattr(remains, "processes", lambda _parent: {engine.pid})
        assert uninstall.main(data=False) == 0


def test_it_says_what_it_does_before_it_asks_apt(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []

    def removable(_names: object) -> tuple[list[str], list[str]]:
        said.append(capsys.readouterr().out)
        return [], []

    monkeypatch.setattr(record, "read", lambda: record.Record(packages=["one", "two"]))
    monkeypatch.setattr(packages, "removable", removable)
    uninstall.main(data=False)
    assert said[0].startswith("Asking apt which of the 2 packages that set-up has added are needed by others")


def test_where_nothing_is_set_up_it_says_only_that(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(machine / "opt")
    shutil.rmtree(machine / "cache")
    assert uninstall.main(data=False) == 0
    assert capsys.readouterr().out == "Nothing of minidock's set-up is on this machine.\n"
