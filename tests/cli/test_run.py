import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import MINIDOCK, Run, environment

NONE = ("--network", "none")


class Terminal:
    """Our command line on a pseudo-terminal of its own."""

    def __init__(self, host: str, *words: str) -> None:
        self.output = b""
        self.process, self.master = pty.fork()
        if self.process == 0:
            try:
                os.execve(MINIDOCK[0], [*MINIDOCK, *words], environment(host))
            finally:
                os._exit(99)
        self.resize(33, 99)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def expect(self, text: bytes) -> None:
        """Read until `text` appears in what is new since the last call."""
        begin, deadline = len(self.output), time.monotonic() + 30
        while text not in self.output[begin:]:
            assert time.monotonic() < deadline, self.output
            if select.select([self.master], [], [], 1)[0]:
                self.output += os.read(self.master, 4096)

    def exit_code(self) -> int:
        while True:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                break
            self.output += data
        _, status = os.waitpid(self.process, 0)
        self.process = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self.master)


@pytest.fixture
def shell(host: str, image: str, name: str) -> Iterator[Terminal]:
    """Yield a terminal on which a shell in container `name` has just shown its prompt."""
    terminal = Terminal(host, "run", "-it", "--name", name, *NONE, image, "sh")
    terminal.expect(b"# ")
    yield terminal
    terminal.close()


def test_output_and_exit_code_are_the_programs_own(minidock: Run, image: str) -> None:
    answer = minidock("run", "--rm", *NONE, image, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (answer.stdout, answer.stderr, answer.returncode) == (b"out\n", b"err\n", 7)


@pytest.mark.parametrize(("program", "code"), [("/no/such", 127), ("nosuch", 127), ("/etc", 126)])
def test_a_program_that_cannot_run_gives_126_or_127(
    program: str, code: int, minidock: Run, image: str
) -> None:
    answer = minidock("run", "--rm", *NONE, image, program)
    assert (answer.returncode, answer.stdout) == (code, b"")
    assert answer.stderr.startswith(b"minidock: Error response from daemon: ")
    assert answer.stderr.endswith(b"\n\nRun 'minidock run --help' for more information\n")


def test_eight_mebibytes_go_through_unchanged_both_ways(minidock: Run, image: str) -> None:
    data = os.urandom(8 << 20)
    assert minidock("run", "-i", "--rm", *NONE, image, "cat", input=data).stdout == data


def test_without_i_the_program_reads_nothing(minidock: Run, image: str) -> None:
    assert minidock("run", "--rm", *NONE, image, "cat", input=b"unseen").stdout == b""


def test_detached_prints_the_id_and_cidfile_holds_it(
    minidock: Run, image: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "id"
    command = ("run", "-d", "--cidfile", str(path), "--name", name, *NONE, image, "sleep", "1000")
    identifier = minidock(*command).stdout.decode().strip()
    assert path.read_text() == identifier
    assert (
        minidock("inspect", "-f", "{{.Id}} {{.State.Running}}", name).stdout.decode()
        == f"{identifier} true\n"
    )
    second = minidock(*command)
    assert second.returncode == 125
    assert b"container ID file found" in second.stderr


def test_a_signal_to_us_is_a_signal_to_the_program(host: str, image: str) -> None:
    script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
    command = [*MINIDOCK, "run", "--rm", *NONE, image, "sh", "-c", script]
    with subprocess.Popen(command, env=environment(host), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 42


def test_the_terminal_has_our_size_and_follows_it(shell: Terminal) -> None:
    shell.type(b"stty size\n")
    shell.expect(b"33 99")
    shell.resize(40, 120)
    for _ in range(100):
        shell.type(b"stty size\n")
        shell.expect(b"# ")
        if b"40 120" in shell.output:
            break
    assert b"40 120" in shell.output
    shell.type(b"exit 5\n")
    assert shell.exit_code() == 5


def test_ctrl_c_reaches_the_program_not_us(shell: Terminal) -> None:
    shell.type(b"sleep 1000\n")
    time.sleep(0.5)
    shell.type(b"\x03")
    shell.expect(b"# ")
    shell.type(b"echo code $?\n")
    shell.expect(b"code 130")
    shell.type(b"exit 0\n")
    assert shell.exit_code() == 0


def test_ctrl_p_ctrl_q_leaves_the_container_running(shell: Terminal, minidock: Run, name: str) -> None:
    shell.type(b"\x10\x11")
    assert shell.exit_code() == 0
    assert minidock("inspect", "-f", "{{.State.Running}}", name).stdout == b"true\n"


def test_an_image_that_is_nowhere_is_pulled_for_and_its_error_shown(minidock: Run) -> None:
    answer = minidock("run", "--rm", "localhost:1/nope:x", "true")
    assert answer.returncode == 125
    assert answer.stderr.startswith(
        b"Unable to find image 'localhost:1/nope:x' locally\nminidock: Error response from daemon: "
    )
    never = minidock("run", "--rm", "--pull", "never", "localhost:1/nope:x", "true")
    assert (never.returncode, never.stderr.count(b"Unable to find")) == (125, 0)


def test_logs_follow_until_the_end(minidock: Run, image: str, name: str) -> None:
    minidock("run", "-d", "--name", name, *NONE, image, "sh", "-c", "echo a; sleep 0.5; echo b")
    assert minidock("logs", "-f", name).stdout == b"a\nb\n"


@pytest.mark.only_minidock  # nobody else explains itself
def test_explain_tells_the_steps_in_order_before_the_output(minidock: Run, image: str) -> None:
    answer = minidock("run", "--rm", "--explain", *NONE, image, "echo", "hi")
    told = answer.stderr.decode()
    assert answer.stdout == b"hi\n"
    assert 0 < told.index("clone init") < told.index("pivot_root(2)") < told.index("execve(2)")
    silent = minidock("run", "--rm", *NONE, image, "echo", "hi")
    assert silent.stderr == b""


def test_what_is_listed_can_be_removed_by_hand(minidock: Run, image: str, name: str) -> None:
    created = minidock("create", "--name", name, image, "true").stdout.decode().strip()
    assert minidock("ps", "-aq", "--no-trunc", "--filter", f"name={name}").stdout.decode().strip() == created
    assert minidock("rm", name).stdout.decode() == f"{name}\n"
    assert minidock("ps", "-aq", "--filter", f"name={name}").stdout == b""
