"""Running a page's console blocks and comparing what they print with what the page shows.

What differs from run to run is compared by its form: ids, times, sizes, the width of columns. An id, or a
kernel's number, that a page shows twice must be the same thing both times, and two that differ on the page
must differ. A line `...` stands for any lines.
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
# Numbers by which the kernel tells things apart: a namespace's lasts, so it means the same on a whole page;
# the others may be another thing's by the next command.
NAMESPACE = r"\b(?:cgroup|ipc|mnt|net|pid|time|user|uts):\[\d+\]"
NUMBER = r"\b(?:pipe|socket):\[\d+\]|\b(?:shared|master):\d+|\bmount \d+(?: on \d+)?|/proc/\d+"
# Where only the digits vary: processes, addresses, how long and how often, Python's version.
PROCESS_DIGITS = (
    r"\bp?pid \d+|\b\d+ inside|-t \d+ -n|\b\d+ of the shim|\bdescriptor \d+|\b\d+ (?:names|below)\b"
)
TIME_DIGITS = r"\(\d+\.\d s\)|\b\d+\.\d+ m?s\b"
DIGITS = rf"{PROCESS_DIGITS}|{TIME_DIGITS}|\b172(?:\.\d+){{3}}|\bran \d+ times|\bpython3\.\d+"
FORMS = {"span": SPAN, "clock": CLOCK, "size": SIZE, "root": DATA_ROOT, "link": LINK}
KINDS = {"id": ID, **FORMS, "namespace": NAMESPACE, "number": NUMBER, "digits": DIGITS}
VARYING = re.compile("|".join(f"(?P<{kind}>{form})" for kind, form in KINDS.items()))
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
    """Which id of the page is which id of this run, by their first twelve digits; and which namespace."""

    of_page: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, str] = field(default_factory=dict)
    in_this_block: dict[tuple[str, str], str] = field(default_factory=dict)

    def begin_block(self) -> None:
        """Forget which namespaces were told apart: the kernel gives the number of one that is gone again."""
        self.in_this_block.clear()

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
    ids = ids or Ids()
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
    if match is None:
        return False
    pairs: dict[str, list[tuple[str, str]]] = {"id": [], "namespace": [], "number": []}
    for (kind, name), here in zip(on_page, match.groups(), strict=True):
        pairs[kind].append((name, here))
    return (
        ids.learn(pairs["id"])
        and _is_one_to_one(pairs["namespace"], ids.namespaces, ids.in_this_block)
        and _is_one_to_one(pairs["number"], {}, {})
    )


def _is_one_to_one(
    pairs: list[tuple[str, str]], shown_for: dict[str, str], on_page_for: dict[tuple[str, str], str]
) -> bool:
    """Take note of pairs (page's `mount 7`, run's 9); False when one is two things, or two are one."""
    for on_page, shown in pairs:
        if shown_for.setdefault(on_page, shown) != shown:
            return False
        if on_page_for.setdefault((on_page.rpartition(" ")[0], shown), on_page) != on_page:
            return False
    return True


def _form(line: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a line's pattern, with a group for each thing that has a name, and (kind, name) of these."""
    pattern, names, last = "", [], 0
    for found in VARYING.finditer(line):
        pattern += re.escape(line[last : found.start()])
        kind = str(found.lastgroup)
        if kind == "id":
            names.append((kind, found[0]))
            pattern += f"([0-9a-f]{{{len(found[0])}}})"
        elif kind in ("namespace", "number"):
            what = "peer group" if found[0].startswith(("shared", "master")) else re.split(r"\W", found[0])[0]
            names += [(kind, f"{what or 'process'} {number}") for number in re.findall(r"\d+", found[0])]
            pattern += re.sub(r"\d+", r"(\\d+)", re.escape(found[0]))
        elif kind == "digits":
            pattern += re.sub(r"\d+", r"\\d+", re.escape(found[0]))
        else:
            pattern += f"(?:{FORMS[kind]})"
        last = found.end()
    return pattern + re.escape(line[last:]), names


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
