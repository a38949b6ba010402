"""`minidock learn`: the chapters' verbs. It needs no engine; what it grades runs in sandboxes of its own."""

from __future__ import annotations

import argparse
import sys

from minidock.cli.flags import Command, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

USAGE = """minidock learn list                         the chapters, and how far you are
       minidock learn start N                      write chapter N's start file into your folder
       minidock learn check [N] [--only N]         grade chapters 1 to N, or one alone
       minidock learn watch N                      grade on every save
       minidock learn hint N [STEP]                the next of three hints
       minidock learn predict N                    say what will happen, then see it
       minidock learn break N [MUTANT]             find a bug from its symptoms
       minidock learn figure N                     the chapter's picture, drawn from a live sandbox
       minidock learn diff N                       your file against the engine's own functions
       minidock learn run --with N [--with M] -- COMMAND...
                                                   the real engine with your functions in it"""


def run(options: Options) -> int:
    """Parse the words after `learn` and do it."""
    if sys.flags.no_site:
        import site

        site.main()  # the command line starts without site-packages, and the engine's parts need them
    words = options.arguments
    command: Sequence[str] = ()
    if "--" in words:
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
    from minidock.learn import chapters, verbs
    from minidock.learn.folder import Folder

    chosen = _parser().parse_args(words or ["list"])
    folder = Folder(chapters.learner_folder(chosen.folder))
    number: Any = getattr(chosen, "number", None)
    actions = {
        "list": lambda: verbs.show_list(folder),
        "start": lambda: verbs.start(folder, number),
        "check": lambda: verbs.check(folder, number, chosen.only),
        "watch": lambda: verbs.watch(folder, number),
        "hint": lambda: verbs.hint(folder, number, chosen.step),
        "predict": lambda: verbs.predict_chapter(folder, number),
        "break": lambda: verbs.break_chapter(folder, number, chosen.mutant),
        "diff": lambda: verbs.diff(folder, number),
        "figure": lambda: verbs.figure(number),
        "run": lambda: verbs.run(folder, chosen.numbers, command),
    }
    return actions[chosen.verb]()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minidock learn", usage=USAGE, allow_abbrev=False)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--folder", metavar="DIR", help="where your files are (default ~/minidock-learn)")
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, number: bool = True) -> argparse.ArgumentParser:
        found = verbs.add_parser(name, parents=[common], allow_abbrev=False)
        if number:
            found.add_argument("number", type=int, metavar="N")
        return found

    verb("list", number=False)
    for name in ("start", "watch", "predict", "diff", "figure"):
        verb(name)
    check = verb("check", number=False)
    check.add_argument("number", type=int, nargs="?", metavar="N")
    check.add_argument("--only", type=int, metavar="N")
    verb("hint").add_argument("step", type=int, nargs="?", metavar="STEP")
    verb("break").add_argument("mutant", nargs="?", metavar="MUTANT")
    verb("run", number=False).add_argument(
        "--with", dest="numbers", type=int, action="append", default=[], metavar="N", required=True
    )
    return parser


COMMANDS = {
    "learn": Command(
        "learn",
        "COMMAND    (all of them: minidock learn --help)",
        "Learn how it works: read, predict, build, check, break",
        run,
        raw=True,
    )
}
