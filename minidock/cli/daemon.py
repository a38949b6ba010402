"""`minidock daemon`: become the engine. The one place where the command line imports the engine's side."""

from __future__ import annotations

import signal
import sys

from minidock.cli.flags import Command, Options


def run(options: Options) -> int:
    """Serve in the foreground until a signal; the options are the daemon's own."""
    # Nothing is there to be undone yet. Python would raise an interrupt wherever it is, and an import has
    # places that swallow one: weak references' callbacks, modules in C. The daemon itself waits for signals.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.flags.no_site:
        import site

        # the command line starts without site-packages, which saves it 5 ms; the engine needs them
        site.main()
    from minidock.api import daemon

    host = ["-H", str(options.host)] if options.host else []
    return daemon.main([*host, *options.arguments])


COMMANDS = {
    "daemon": Command(
        "daemon",
        "[OPTIONS]    (all of them: minidock daemon --help)",
        "Run the engine in the foreground",
        run,
        raw=True,
    )
}
