"""Progress on a terminal: bars that move in place, drawn as docker draws them."""

import contextlib
import fcntl
import json
import os
import pty
import re
import socket
import struct
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import MINIDOCK, environment

ROWS, COLUMNS = 24, 120


def step(identifier: str, status: str, current: int = 0, total: int = 0) -> dict[str, object]:
    detail = {"current": current, "total": total} if current else {}
    return {"id": identifier, "status": status, "progressDetail": detail}


MESSAGES: list[dict[str, object]] = [
    {"status": "Downloading from a place"},
    {"status": "Importing", "progressDetail": {"current": 500, "total": 1000}},
    {"status": "Importing", "progressDetail": {"current": 1000, "total": 1000}},
    {"status": "Imported"},
    *(step("aaaaaaaaaaaa", "Loading layer", size, 176_400_000) for size in (1, 557_056, 88_200_000)),
    *(step("bbbbbbbbbbbb", "Loading layer", size, 999) for size in (1, 500, 999)),
    *(step("aaaaaaaaaaaa", "Loading layer", size, 176_400_000) for size in (100_000_000, 176_400_000)),
    step("cccccccccccc", "Waiting"),
    step("cccccccccccc", "Loading layer", 12_345),
    step("bbbbbbbbbbbb", "Complete"),
    {"stream": "Loaded image: a:1\n"},
]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a server that answers every load with MESSAGES."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/socket")
        server.listen()
        thread = threading.Thread(target=_serve, args=(server,))
        thread.start()
        yield f"unix://{tmp_path}/socket"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
        while line := stream.readline():
            chunked = False
            while (header := stream.readline()).strip():
                chunked |= header.lower().startswith(b"transfer-encoding")
            while chunked and stream.readline().strip() not in (b"0", b""):
                stream.readline()  # the archive is one short line
            head = (
                b"HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Type: application/json\r\n"
            )
            body = b"".join(json.dumps(message).encode() + b"\r\n" for message in MESSAGES)
            if line.startswith(b"HEAD"):
                body = b""
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def on_a_terminal(command: list[str], host: str, columns: int) -> bytes:
    """Run a command on a pseudo-terminal and return all that it wrote there."""
    process, master = pty.fork()
    if process == 0:
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
            os.execve(command[0], command, {**environment(host), "TERM": "xterm"})
        finally:
            os._exit(99)
    output = b""
    with contextlib.suppress(OSError):
        while data := os.read(master, 4096):
            output += data
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, output
    return output


def screens(output: bytes) -> list[list[str]]:
    """Return what stood on the screen after each line was rewritten, and at the end."""
    lines, row, seen = [""], 0, []
    for piece in re.split(r"(\x1b\[\d+[ABK]|[\r\n])", output.decode()):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif match := re.fullmatch(r"\x1b\[(\d+)([AB])", piece):
            row += int(match[1]) * (1 if match[2] == "B" else -1)
            seen.append(list(lines))
        elif piece.endswith("K"):
            lines[row] = ""
        elif piece and piece != "\r":
            lines[row] = piece.rstrip()
    return [*(each for number, each in enumerate(seen) if each not in seen[:number]), lines]


@pytest.mark.parametrize("columns", [COLUMNS, 100])
def test_bars_are_drawn_in_place_as_docker_draws_them(
    engine: str, docker28: str, tmp_path: Path, columns: int
) -> None:
    archive = tmp_path / "archive"
    archive.write_text("archive")
    words = ["load", "-i", str(archive)]
    ours, theirs = (
        screens(on_a_terminal([*command, *words], engine, columns)) for command in (MINIDOCK, [docker28])
    )
    assert ours == theirs
    assert [line.split()[0] for line in ours[-1] if line] == [
        "Downloading", "Imported", "aaaaaaaaaaaa:", "bbbbbbbbbbbb:", "cccccccccccc:", "Loaded",
    ]  # fmt: skip
    assert any("========>" in line for line in ours[-1]) == (columns == COLUMNS)
