"""minidock.runtime.program: how a command is found, and what an execve hands over."""

import os
import signal
from pathlib import Path

import pytest

from minidock.errors import StartFailed
from minidock.runtime import program


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a PATH: a file that may not be executed, a directory, the right one, nothing."""
    for name in ("refused", "directory/cmd", "right"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "refused/cmd").write_text("#!/bin/sh\n")
    (tmp_path / "refused/only").write_text("#!/bin/sh\n")
    (tmp_path / "right/cmd").write_text("#!/bin/sh\n")
    (tmp_path / "right/cmd").chmod(0o755)
    return ":".join(str(tmp_path / name) for name in ("refused", "directory", "right", "missing"))


def test_the_first_executable_file_of_path_is_taken(path: str, tmp_path: Path) -> None:
    assert program.search("cmd", path) == str(tmp_path / "right/cmd")


def test_a_name_with_a_slash_is_not_searched(path: str) -> None:
    assert program.search("./cmd", path) == "./cmd"


def test_a_file_that_may_not_be_executed_is_told_from_none_at_all(path: str) -> None:
    with pytest.raises(PermissionError):
        program.search("only", path)
    with pytest.raises(program.ProgramNotFound):
        program.search("nothing", path)


def test_descriptors_end_up_in_order_even_when_they_overlap(in_child) -> None:
    def body() -> list[str]:
        first, second, third = (os.open(name, os.O_RDONLY) for name in ("/etc", "/bin", "/usr"))
        os.dup2(first, 2)
        os.dup2(second, 0)
        os.dup2(third, 1)
        program.connect([2, 0, 1])
        return [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]

    expected = [os.path.realpath(name) for name in ("/etc", "/bin", "/usr")]
    assert in_child(body) == expected


def test_a_python_process_execs_with_clean_signals(in_child, tmp_path: Path) -> None:
    target = tmp_path / "status"

    def body() -> int:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            out = os.open(target, os.O_CREAT | os.O_WRONLY)
            os.open("/etc", os.O_RDONLY)
            program.execute(["/bin/busybox", "grep", "^Sig[BI]", "/proc/self/status"], {}, [0, out, 2])
        return os.waitpid(pid, 0)[1]

    assert in_child(body) == 0
    assert {line.split()[1] for line in target.read_text().splitlines()} == {"0" * 16}


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("missing", 'exec: "missing": executable file not found in $PATH', 127),
        ("/missing", 'exec: "/missing": no such file or directory', 127),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied', 126),
        ("not-executable", 'exec: "not-executable": permission denied', 126),
        ("/bin", 'exec: "/bin": permission denied', 126),
        ("/bin/garbage", 'exec: "/bin/garbage": exec format error', 127),
    ],
)
def test_a_program_that_cannot_start_is_worded_as_in_docker(bench, name: str, words: str, code: int) -> None:
    with pytest.raises(StartFailed) as caught:
        bench.run(bench.spec(name))
    assert words in str(caught.value)
    assert caught.value.exit_code == code
    running = bench.launch(bench.spec("sleep", "1000"))
    with pytest.raises(StartFailed) as caught:
        running.execute(name)
    assert words in str(caught.value)
    assert caught.value.exit_code == code


def test_an_empty_command_is_refused(bench) -> None:
    with pytest.raises(StartFailed, match="args"):
        bench.run(bench.spec())
