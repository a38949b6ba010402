"""Run the console blocks of a page and compare what they print: `python page.py PAGE`, as root.

The page's commands run in one directory, with a private engine behind DOCKER_HOST and an empty home.
Between them, comments of the page act for the reader: `<!-- solve N -->` finishes chapter N's file. In a
block, a line `...` stands for any lines; identifiers, times and numbers of namespaces and mounts may
differ.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from minidock.learn import chapters, source, swap

FENCE = re.compile(r"^```console\n(.*?)^```|^<!-- (solve) (\d+) -->$", re.MULTILINE | re.DOTALL)
VARIES = (
    (re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b[A-Z0-9]{26}\b"), "<link>"),
    (re.compile(r":\[\d+\]"), ":[<inode>]"),
    (re.compile(r"\b(shared|master|mount|on|pid|process|/proc/|parent) ?:?\d+\b"), r"\1 <number>"),
    (re.compile(r"\(\d+\.\d s\)"), "(<time>)"),
    (re.compile(r"\b\d+ (seconds?|minutes?) ago|\bLess than a second ago|\bAbout a minute ago"), "<time>"),
    (re.compile(r"\bUp (\d+ seconds?|Less than a second)"), "Up <time>"),
    (re.compile(r"\b\d+(\.\d+)? ?[kMG]?B\b"), "<size>"),
    (re.compile(r"\b[a-z]+_[a-z]+\b$"), "<name>"),
    (re.compile(r" +"), " "),
)


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (command, expected lines), and ("solve", [number]) for the comments, in the page's order."""
    for found in FENCE.finditer(text):
        if found[2]:
            yield "solve", [found[3]]
            continue
        command, expected = "", list[str]()
        for line in found[1].splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, expected
                command, expected = line[2:], []
            elif line.startswith("> ") and not expected:
                command += "\n" + line[2:]
            else:
                expected.append(line)
        yield command, expected


def same(expected: list[str], seen: list[str]) -> bool:
    """Compare line by line; `...` stands for any number of lines."""
    if not expected:
        return not seen
    if expected[0].strip() == "...":
        return any(same(expected[1:], seen[index:]) for index in range(len(seen) + 1))
    return bool(seen) and normal(expected[0]) == normal(seen[0]) and same(expected[1:], seen[1:])


def normal(line: str) -> str:
    for pattern, word in VARIES:
        line = pattern.sub(word, line)
    return line.strip()


def run(page: Path) -> int:
    """Run the page; print what differs; return the number of commands that were run, or -1."""
    text = page.read_text()
    with tempfile.TemporaryDirectory(prefix="minidock-page-") as home, swap.PrivateEngine([]) as engine:
        programs = Path(home) / ".bin"
        programs.mkdir()
        (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (programs / "sudo").chmod(0o755)
        (programs / "minidock").symlink_to(Path(sys.executable).parent / "minidock")
        path = f"{programs}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        environment = {
            "PATH": path,
            "HOME": home,
            "DOCKER_HOST": engine.host,
            "TERM": "dumb",
            "LANG": "C.UTF-8",
        }
        count = 0
        for command, expected in commands(text):
            if command == "solve":
                chapter = chapters.chapter(int(expected[0]))
                (Path(home) / "minidock-learn" / f"{chapter.name}.py").write_text(source.solution(chapter))
                continue
            count += 1
            ended = subprocess.run(
                ["sh", "-c", command],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
            )
            lines = ended.stdout.decode(errors="replace").replace(home, "/root").splitlines()
            if not same(expected, lines):
                print(f"{page}: $ {command}")
                print("\n".join(difflib.unified_diff(expected, lines, "the page", "seen", lineterm="")))
                return -1
    return count


if __name__ == "__main__":
    total = run(Path(sys.argv[1]))
    print(f"{total} commands")
    sys.exit(0 if total > 0 else 1)
