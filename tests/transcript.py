"""Running a page's console blocks and comparing what they print with what the page shows.

What differs from run to run is compared by its form: ids (and an id that a page shows twice must be the same
thing both times), times, sizes, the width of columns. A line `...` stands for any lines.
"""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

ID = r"\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b"
SPAN = r"Less than a second|About an? (?:minute|hour)|\d+ (?:second|minute|hour|day|week|month|year)s?"
CLOCK = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?"
SIZE = r"\b\d+(?:\.\d+)?\s?[kMG]?i?B\b"
# What a page shows as it is on the usual engine, and as it is on a test's engine.
DATA_ROOT = r"/var/(?:lib/minidock|tmp/minidock-demo-\w+/data)\b"
LINK = r"\b(?:minidock0|md-[0-9a-f]{10})\b|\bveth[0-9a-f]{8}\b|\b02:42(?::[0-9a-f]{2}){4}\b"
# Where only the digits vary: namespaces, mounts, pipes, how long and how often, Python's version.
KERNEL_DIGITS = r":\[\d+\]|\b(?:shared|master):\d+|\bmount \d+(?: on \d+)?|/proc/\d+|\b172(?:\.\d+){3}"
PROCESS_DIGITS = (
    r"\bp?pid \d+|\b\d+ inside|-t \d+ -n|\b\d+ of the shim|\bdescriptor \d+|\b\d+ (?:names|below)\b"
)
TIME_DIGITS = r"\(\d+\.\d s\)|\b\d+\.\d+ m?s\b"
DIGITS = rf"{KERNEL_DIGITS}|{PROCESS_DIGITS}|{TIME_DIGITS}|\bran \d+ times|\bpython3\.\d+"
FORMS = {"span": SPAN, "clock": CLOCK, "size": SIZE, "root": DATA_ROOT, "link": LINK}
VARYING = re.compile(
    "|".join(f"(?P<{kind}>{form})" for kind, form in {"id": ID, **FORMS, "digits": DIGITS}.items())
)
PROMPT = b"/ # "
TYPING_TIMEOUT = 20.0
# What a terminal session shows beside what was asked for: the shell's greeting, cursor movements, and the
# word of older clients when they detach.
GREETINGS = re.compile(
    r"\n*BusyBox v.*\nEnter 'help' for a list of built-in commands.\n\n|\x1b\[[0-9;]*[a-zA-Z]"
    r"|read escape sequence\n"
)


@dataclass
class Ids:
    """Which id of the page is which id of this run, by their first twelve digits."""

    of_page: dict[str, str] = field(default_factory=dict)

    def translate(self, command: str) -> str:
        """Put this run's ids in the place of the page's."""
        return re.sub(ID, lambda found: self.of_page.get(found[0][:12], found[0])[: len(found[0])], command)

    def learn(self, pairs: list[tuple[str, str]]) -> bool:
        """Take note of (page's id, run's id); False when one of them was something else before."""
        for on_page, shown in pairs:
            known = self.of_page.get(on_page[:12])
            if known is None:
                if shown[:12] in {value[:12] for value in self.of_page.values()}:
                    return False
                self.of_page[on_page[:12]] = shown
            elif known[:12] != shown[:12]:
                return False
            elif len(shown) > len(known):
                self.of_page[on_page[:12]] = shown
        return True


def agrees(expected: str, shown: str, ids: Ids | None = None) -> bool:
    """Tell whether `shown` is what the page expects."""
    pattern, on_page = "", []
    for line in expected.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            form, found = _form(" ".join(line.split()))
            pattern += form + "\n"
            on_page += found
    squeezed = "".join(" ".join(line.split()) + "\n" for line in shown.splitlines())
    match = re.fullmatch(pattern, squeezed)
    return match is not None and (ids or Ids()).learn(list(zip(on_page, match.groups(), strict=True)))


def _form(line: str) -> tuple[str, list[str]]:
    """Return a line's pattern, with a group for each id, and these ids."""
    pattern, ids, last = "", [], 0
    for found in VARYING.finditer(line):
        pattern += re.escape(line[last : found.start()])
        kind = str(found.lastgroup)
        if kind == "id":
            ids.append(found[0])
            pattern += f"([0-9a-f]{{{len(found[0])}}})"
        elif kind == "digits":
            pattern += re.sub(r"\d+", r"\\d+", re.escape(found[0]))
        else:
            pattern += f"(?:{FORMS[kind]})"
        last = found.end()
    return pattern + re.escape(line[last:]), ids


def run(command: str, environment: Mapping[str, str], directory: str) -> str:
    """Run a command line as a shell would; return what it prints, errors included."""
    answer = subprocess.run(
        ["sh", "-c", command], env=dict(environment), cwd=directory, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=90,
    )  # fmt: skip
    return answer.stdout


def typed(command: str, lines: list[str], environment: Mapping[str, str], directory: str) -> str:
    """Run a command on a terminal, type `lines` into it, each after a prompt; return all that it showed.

    `^P` and its like in a line are control characters, typed without a newline.
    """
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execvpe("sh", ["sh", "-c", command], dict(environment))
    shown, waiting = b"", list(lines)
    deadline = time.monotonic() + TYPING_TIMEOUT
    seen = 0
    try:
        while time.monotonic() < deadline:
            readable, _, _ = select.select([master], [], [], 0.1)
            if readable:
                try:
                    data = os.read(master, 65536)
                except OSError:  # EIO: the last process has closed the terminal
                    break
                shown += data
            if waiting and PROMPT in shown[seen:]:
                seen = len(shown)
                os.write(master, _keys(waiting.pop(0)))
    finally:
        os.close(master)
        os.waitpid(pid, 0)
    return GREETINGS.sub("", shown.decode(errors="replace").replace("\r", ""))


def _keys(line: str) -> bytes:
    if re.fullmatch(r"(\^[A-Z])+", line):
        return bytes(ord(letter) - 64 for letter in line[1::2])
    return line.encode() + b"\n"
