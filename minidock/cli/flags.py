"""Command lines in Docker's syntax: flags are a table, rules and error messages are those of pflag.

`-it`, `-eA=1`, `-e A=1`, `--env=A=1`, `--rm`, `--rm=false` and `--` all mean what they mean to docker; a verb
that runs another program stops at its first argument (`run`), all others take flags anywhere. Help is drawn
in cli/usage.py.
"""

from __future__ import annotations

from minidock.cli.failure import PROGRAM, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minidock.cli.endpoint import Endpoint

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Flag:
    """One flag: `kind` is the word that help shows; `convert` raises ValueError with the sentence to show."""

    __slots__ = ("about", "aliases", "convert", "default", "kind", "name", "repeats", "short", "shown")

    def __init__(
        self,
        name: str,
        short: str,
        kind: str,
        about: str,
        convert: Callable[[str], Any] | None = None,
        default: Any = None,
        shown: str = "",
        repeats: bool | None = None,
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.name, self.short, self.kind, self.about = name, short, kind, about
        self.convert = convert or CONVERSIONS.get(kind, str)
        self.repeats = kind in ("list", "filter") if repeats is None else repeats
        self.default = default if default is not None else EMPTY.get(kind)
        self.shown = shown
        self.aliases = aliases


class Command:
    """A verb: what help says about it, which arguments and flags it takes, and the function that runs it."""

    __slots__ = ("about", "aliases", "flags", "maximum", "minimum", "name", "raw", "run", "stops", "synopsis")

    def __init__(
        self,
        name: str,
        synopsis: str,
        about: str,
        run: Callable[[Options], int],
        flags: Sequence[Flag] = (),
        arguments: tuple[int, int | None] = (0, 0),
        stops: bool = False,
        aliases: str = "",
        raw: bool = False,
    ) -> None:
        """Describe a verb; if it `stops`, no flag follows its first argument; if `raw`, it parses itself."""
        self.raw = raw
        self.name, self.synopsis, self.about, self.run = name, synopsis, about, run
        self.flags, self.stops, self.aliases = flags, stops, aliases
        self.minimum, self.maximum = arguments


class Options:
    """What the user gave: flag values by name, the arguments, and the client of the chosen engine."""

    def __init__(self, command: Command, name: str, host: Endpoint | str | None = None) -> None:
        self.command = command
        self.name = name
        self.host = host
        self.arguments: list[str] = []
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return the value of flag `name`, its default when it was not given; lists are never None."""
        if name in self._values:
            return self._values[name]
        flag = next(flag for flag in self.command.flags if flag.name == name)
        return [] if flag.repeats else flag.default

    def __contains__(self, name: str) -> bool:
        """Return whether flag `name` stood on the command line."""
        return name in self._values

    def put(self, flag: Flag, value: Any) -> None:
        if flag.repeats:
            self._values.setdefault(flag.name, []).append(value)
        else:
            self._values[flag.name] = value


class HelpWanted(Exception):
    """`--help` stood on the command line."""


def boolean(text: str) -> bool:
    """Convert as Go's strconv.ParseBool."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def integer(text: str) -> int:
    """Convert as Go's strconv.ParseInt with base 0."""
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def filter_pair(text: str) -> tuple[str, str]:
    """Split `name=value` of --filter."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


def chapter(text: str) -> int:
    """Convert the number of a chapter of `learn`."""
    if not text.isdecimal():
        raise ValueError("a chapter's number is needed, such as 3")
    return int(text)


CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "bool": boolean,
    "int": integer,
    "filter": filter_pair,
    "chapter": chapter,
}
EMPTY: dict[str, Any] = {"bool": False, "string": ""}
HELP = Flag("help", "", "bool", "Print usage")


def parse(command: Command, words: Sequence[str], name: str, host: Endpoint | str | None = None) -> Options:
    """Parse the words after the verb; `name` is how the user called it (`container ls`)."""
    options = Options(command, name, host)
    if command.raw:
        options.arguments += words
        return options
    long = {spelling: flag for flag in command.flags for spelling in (flag.name, *flag.aliases)}
    long.setdefault("help", HELP)
    short = {flag.short: flag for flag in command.flags if flag.short}
    position = 0
    try:
        while position < len(words):
            word = words[position]
            position += 1
            if word == "--":
                options.arguments += words[position:]
                break
            if word.startswith("--"):
                position = _long(options, long, words, position)
            elif word.startswith("-") and word != "-":
                position = _short(options, short, words, position)
            else:
                options.arguments.append(word)
                if command.stops:
                    options.arguments += words[position:]
                    break
    except ValueError as error:
        raise usage_error(str(error), name, command) from None
    _check_count(options)
    return options


def usage_error(problem: str, name: str, command: Command) -> Failure:
    """Return pflag's message for a wrong flag, exit code 125."""
    synopsis = f"Usage:  {PROGRAM} {name} {command.synopsis}".rstrip()
    return Failure(f"{problem}\n\n{synopsis}\n\nRun '{PROGRAM} {name} --help' for more information", 125)


def _long(options: Options, known: dict[str, Flag], words: Sequence[str], position: int) -> int:
    name, equals, value = words[position - 1][2:].partition("=")
    flag = known.get(name)
    if flag is None:
        raise ValueError(f"unknown flag: --{name}")
    if not equals:
        if flag.kind == "bool":
            value = "true"
        elif position < len(words):
            value = words[position]
            position += 1
        else:
            raise ValueError(f"flag needs an argument: --{name}")
    _set(options, flag, value, f"--{name}" if name in flag.aliases else "")
    return position


def _short(options: Options, known: dict[str, Flag], words: Sequence[str], position: int) -> int:
    """Take apart one word of single-letter flags; the last may have its value inside or in the next word."""
    letters = words[position - 1][1:]
    for index, letter in enumerate(letters):
        flag = known.get(letter)
        if flag is None:
            if letter == "h" and "help" not in known:
                raise HelpWanted
            raise ValueError(f"unknown shorthand flag: '{letter}' in -{letters[index:]}")
        rest = letters[index + 1 :]
        if rest.startswith("="):
            _set(options, flag, rest[1:])
            return position
        if flag.kind == "bool":
            _set(options, flag, "true")
            continue
        if rest:
            _set(options, flag, rest)
            return position
        if position == len(words):
            raise ValueError(f"flag needs an argument: '{letter}' in -{letters[index:]}")
        _set(options, flag, words[position])
        return position + 1
    return position


def _set(options: Options, flag: Flag, text: str, alias: str = "") -> None:
    try:
        value = flag.convert(text)
    except ValueError as error:
        spelled = alias or (f"-{flag.short}, --{flag.name}" if flag.short else f"--{flag.name}")
        raise ValueError(f'invalid argument "{text}" for "{spelled}" flag: {error}') from None
    if flag is HELP:
        if value:
            raise HelpWanted
        return
    options.put(flag, value)


def _check_count(options: Options) -> None:
    command, count = options.command, len(options.arguments)
    low, high = command.minimum, command.maximum
    if count >= low and (high is None or count <= high):
        return
    hint = "Run"
    if high is None:
        wanted, hint = f"requires at least {_arguments(low)}", "See"
    elif high == 0:
        wanted = "accepts no arguments"
    elif low == high:
        wanted = f"requires {_arguments(low)}"
    elif low == 0:
        wanted = f"requires at most {_arguments(high)}"
    else:
        wanted = f"requires at least {low} and at most {_arguments(high)}"
    raise Failure(
        f"{PROGRAM}: '{PROGRAM} {options.name}' {wanted}\n\n"
        f"Usage:  {PROGRAM} {options.name} {command.synopsis}".rstrip()
        + f"\n\n{hint} '{PROGRAM} {options.name} --help' for more information"
    )


def _arguments(number: int) -> str:
    return f"{number} argument" + ("" if number == 1 else "s")
