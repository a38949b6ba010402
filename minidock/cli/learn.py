"""`minidock learn`: the chapters' verbs. It needs no engine; what it grades runs in sandboxes of its own."""

from __future__ import annotations

import sys

from minidock.cli.failure import PROGRAM, Failure
from minidock.cli.flags import Command, Flag, HelpWanted, Options, parse

FOLDER = Flag("folder", "", "string", "Where your files are", shown="~/minidock-learn")
ABOUT = "Learn how it works: read, predict, build, check, break"
OVERVIEW = f"""Usage:  {PROGRAM} learn COMMAND

{ABOUT}

Commands:
"""


def run(options: Options) -> int:
    """Parse the words after `learn` and do it."""
    words = options.arguments or ["list"]
    try:
        words = parse(_TOP, words, "learn").arguments
    except HelpWanted:
        words = []
    if not words or words == ["help"]:
        rows = [f"  {f'{name} {verb.synopsis}'.rstrip():<29} {verb.about}" for name, verb in VERBS.items()]
        end = f"Run '{PROGRAM} learn COMMAND --help' for more information on a command.\n"
        sys.stdout.write(OVERVIEW + "\n".join([*rows, "", end]))
        return 0
    name, *rest = words
    if name not in VERBS:
        raise Failure(
            f"{PROGRAM}: unknown command: {PROGRAM} learn {name}\n\nUsage:  {PROGRAM} learn COMMAND\n\n"
            f"Run '{PROGRAM} learn --help' for more information"
        )
    verb = VERBS[name]
    try:
        return verb.run(parse(verb, rest, f"learn {name}"))
    except HelpWanted:
        from minidock.cli.usage import command_help

        sys.stdout.write(command_help(verb, f"learn {name}"))
        return 0


def _perform(options: Options) -> int:
    """Do what one verb says."""
    words = options.arguments
    if options.command.name == "run" and not options["with"]:
        raise _refused(options, "requires --with N, the chapter whose functions are yours")

    def number(position: int = 0) -> int:
        if not words[position].isdecimal():
            raise _refused(options, f"takes a number, not {words[position]!r}")
        return int(words[position])

    if sys.flags.no_site:
        import site

        site.main()  # the command line starts without site-packages, and the engine's parts need them
    from minidock.learn import chapters, verbs
    from minidock.learn.folder import Folder

    folder = Folder(chapters.learner_folder(options["folder"] or None))
    actions = {
        "list": lambda: verbs.show_list(folder),
        "start": lambda: verbs.start(folder, number()),
        "check": lambda: verbs.check(folder, number() if words else None, options["only"]),
        "watch": lambda: verbs.watch(folder, number()),
        "hint": lambda: verbs.hint(folder, number(), words[1] if words[1:] else None),
        "predict": lambda: verbs.predict_chapter(folder, number()),
        "break": lambda: verbs.break_chapter(folder, number(), words[1] if words[1:] else None),
        "diff": lambda: verbs.diff(folder, number()),
        "figure": lambda: verbs.figure(number()),
        "run": lambda: verbs.run(folder, options["with"], words),
    }
    return actions[options.command.name]()


def _refused(options: Options, problem: str) -> Failure:
    called = f"{PROGRAM} {options.name}"
    return Failure(
        f"{PROGRAM}: '{called}' {problem}\n\nUsage:  {called} {options.command.synopsis}\n\n"
        f"Run '{called} --help' for more information"
    )


def _verb(
    name: str,
    synopsis: str,
    about: str,
    arguments: tuple[int, int | None] = (1, 1),
    flags: tuple[Flag, ...] = (),
    stops: bool = False,
) -> Command:
    return Command(name, synopsis, about, _perform, (FOLDER, *flags), arguments, stops)


ONLY = Flag("only", "", "chapter", "Grade this chapter alone")
WITH = Flag("with", "", "chapter", "A chapter whose functions are yours; may be repeated", repeats=True)
VERBS = {
    verb.name: verb
    for verb in (
        _verb("list", "", "The chapters, and how far you are", (0, 0)),
        _verb("start", "N", "Write chapter N's start file into your folder"),
        _verb("check", "[N]", "Grade chapters 1 to N, or --only one", (0, 1), (ONLY,)),
        _verb("watch", "N", "Grade on every save"),
        _verb("hint", "N [STEP]", "The next of three hints, for a function by its name", (1, 2)),
        _verb("predict", "N", "Say what will happen, then see it"),
        _verb("break", "N [BUG]", "Find a bug from its symptoms: one by chance, or by its number", (1, 2)),
        _verb("figure", "N", "The chapter's picture, drawn from a live sandbox"),
        _verb("diff", "N", "Your file against the engine's own functions"),
        _verb(
            "run", "--with N [-- COMMAND...]", "The real engine with your functions in it",
            (0, None), (WITH,), stops=True,
        ),
    )
}  # fmt: skip
_TOP = Command("learn", "COMMAND", ABOUT, run, (), (0, None), stops=True)
COMMANDS = {
    "learn": Command("learn", f"COMMAND    (all of them: {PROGRAM} learn --help)", ABOUT, run, raw=True)
}
