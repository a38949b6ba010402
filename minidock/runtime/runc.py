"""minidock-runc: the runtime under runc's command line (create, start, run, state, kill, delete, exec).

This is how the runtime runs beneath containerd, podman or Kubernetes, which bring their own shim: after
`create` the caller becomes the container's parent, so there is none of ours. Source: the OCI runtime
specification, runtime.md, and runc's manual pages for the words and flags.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from minidock.errors import InvalidParameter, MinidockError, Unsupported
from minidock.runtime import runc_verbs, sealed
from minidock.runtime.launch import LaunchFailed
from minidock.runtime.report import describe
from minidock.runtime.runc_state import DEFAULT_ROOT

USAGE = """\
Usage: minidock-runc [--root DIR] [--log FILE] [--log-format text|json] COMMAND [OPTIONS] CONTAINER

Commands:
  create [-b BUNDLE] [--pid-file FILE] [--console-socket PATH] ID       make a container, do not start it
  start  ID                                                             run the program of a created one
  run    [-b BUNDLE] [-d] [--pid-file FILE] [--console-socket PATH] ID  create, start, wait and delete
  state  ID                                                             print its state as JSON
  kill   [-a] ID [SIGNAL]                                               signal its init (default TERM)
  delete [-f] ID                                                        take away what a stopped one holds
  exec   [-t] [-d] [-u UID[:GID]] [--cwd DIR] [-e NAME=VALUE] [-p PROCESS.json] [--pid-file FILE]
         ID COMMAND...                                                  run one more program in it
  list   [-f table|json] [-q]                                           list the containers
"""


def main(*arguments: str) -> NoReturn:
    """Run one command and exit with its status (1 on an error, the program's own for `run` and `exec`)."""
    words = list(arguments or sys.argv[1:])
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        sys.exit(0)
    if words[0] in ("-v", "--version"):
        sys.stdout.write("minidock-runc version 0.1.0\nspec: 1.0.2\n")
        sys.exit(0)
    if not sealed.runs_sealed():
        become_sealed(words)
    log = ""
    try:
        options, rest = parse_global(words)
        log = options["log"]
        sys.exit(runc_verbs.run(options, rest))
    except (MinidockError, OSError, ValueError) as error:
        report(error, log, options["log-format"] if log else "text")
        sys.exit(1)


def become_sealed(words: Sequence[str]) -> NoReturn:
    """Execute the same command in a sealed copy of the interpreter."""
    copy = sealed.interpreter()
    os.execve(copy, sealed.command(__name__, *words), dict(os.environ))


def parse_global(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split the options before the command from the rest."""
    options = {"root": DEFAULT_ROOT, "log": "", "log-format": "text"}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        name, separator, value = rest.pop(0).lstrip("-").partition("=")
        if name in ("debug", "systemd-cgroup"):
            if name == "systemd-cgroup" and value != "false":
                raise Unsupported("--systemd-cgroup is not supported: this runtime writes to cgroupfs itself")
            continue
        if name == "rootless" and (value or (rest.pop(0) if rest else "")) in ("auto", "false"):
            continue
        if name not in options:
            raise InvalidParameter(f"flag provided but not defined: -{name}")
        if not separator:
            if not rest:
                raise InvalidParameter(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        options[name] = value
    return options, rest


def words_of(step: str) -> str:
    """Return what names a failed step; that a program was not found says enough."""
    return "" if step == "exec" else f"error during container init: {step}: "


def report(error: Exception, log: str, form: str) -> None:
    """Print the error, and append it to the log file that the caller reads (containerd and podman do)."""
    message = describe(error)
    if isinstance(error, LaunchFailed):
        message = f"unable to start container process: {words_of(error.step)}{message}"
    sys.stderr.write(f"minidock-runc: {message}\n")
    if not log:
        return
    line = (
        json.dumps({"level": "error", "msg": message}) if form == "json" else f'level=error msg="{message}"'
    )
    with open(log, "a", encoding="utf-8") as file:
        file.write(line + "\n")
