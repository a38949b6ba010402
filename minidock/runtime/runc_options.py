"""The words after a verb of minidock-runc, sorted into options, container name and command."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from minidock.errors import InvalidParameter

_TEXT = {
    "-b": "bundle",
    "--bundle": "bundle",
    "--pid-file": "pid_file",
    "--console-socket": "console_socket",
    "--cwd": "cwd",
    "-u": "user",
    "--user": "user",
    "-p": "process",
    "--process": "process",
    "-f": "format",
    "--format": "format",
    "--preserve-fds": "preserve_fds",
}
_SWITCH = {
    "-d": "detach",
    "--detach": "detach",
    "-a": "all",
    "--all": "all",
    "--force": "force",
    "-t": "tty",
    "--tty": "tty",
    "-q": "quiet",
    "--quiet": "quiet",
}
_NAMELESS = ("list",)


@dataclass
class Options:
    """What was asked; texts are empty when not given."""

    identifier: str = ""
    arguments: list[str] = field(default_factory=list)
    bundle: str = ""
    pid_file: str = ""
    console_socket: str = ""
    cwd: str = ""
    user: str = ""
    process: str = ""
    format: str = "table"
    preserve_fds: str = "0"
    env: list[str] = field(default_factory=list)
    detach: bool = False
    all: bool = False
    force: bool = False
    tty: bool = False
    quiet: bool = False


def parse(verb: str, words: Sequence[str]) -> Options:
    """Parse the words after `verb`; everything after the container's name is the command or signal."""
    options, rest = Options(), list(words)
    texts = dict(_TEXT)
    switches = dict(_SWITCH)
    if verb == "delete":
        del texts["-f"]
        switches["-f"] = "force"
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word, separator, value = rest.pop(0).partition("=")
        if word in switches:
            setattr(options, switches[word], value != "false")
        elif word in texts or word in ("-e", "--env"):
            if not separator:
                if not rest:
                    raise InvalidParameter(f"flag needs an argument: {word}")
                value = rest.pop(0)
            if word in texts:
                setattr(options, texts[word], value)
            else:
                options.env.append(value)
        else:
            raise InvalidParameter(f"flag provided but not defined: {word}")
    if verb not in _NAMELESS:
        if not rest:
            raise InvalidParameter(f'"minidock-runc {verb}" requires a container ID')
        options.identifier = rest.pop(0)
    # runc lets switches follow the name for kill (`kill ID KILL --all`), and callers use it.
    if verb in ("kill", "delete", "state", "start"):
        options.all = options.all or "--all" in rest or "-a" in rest
        options.force = options.force or (verb == "delete" and ("--force" in rest or "-f" in rest))
        rest = [word for word in rest if not word.startswith("-")]
    options.arguments = rest
    if options.preserve_fds != "0":
        raise InvalidParameter("--preserve-fds is not supported: a program gets descriptors 0 to 2")
    return options
