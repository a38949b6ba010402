"""Commands for the reader to type next: called as this one was, and with the same folder.

Behind sudo PATH is another one (sudoers(5), secure_path), so a `minidock` that is not found there, one in a
clone's environment, is given with its whole path.
"""

import os
import shlex
import shutil
import sys

PROGRAM = "minidock"
SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def learn(words: str, folder: str | None = None, as_root: bool = False) -> str:
    """Return `minidock learn WORDS` with --folder `folder` (None: the usual one), behind sudo for root.

    What follows a ` -- ` in `words` is another program's and stays at the end.
    """
    mine, separator, others = words.partition(" -- ")
    flag = "" if folder is None else f" --folder {shlex.quote(folder)}"
    return f"{'sudo ' * as_root}{called(as_root)} learn {mine}{flag}{separator}{others}"


def called(as_root: bool = False) -> str:
    """Return what to type for this program."""
    given = sys.argv[0]
    if os.path.basename(given) != PROGRAM or not os.path.isfile(given):
        return PROGRAM
    path = SECURE_PATH if as_root and os.geteuid() != 0 else None
    found = shutil.which(PROGRAM, path=path)
    if found is not None and os.path.samefile(found, given):
        return PROGRAM
    return shlex.quote(os.path.abspath(given))
