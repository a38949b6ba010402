"""`minidock doctor`: look at this machine and say what to mend. It needs neither an engine nor root."""

from __future__ import annotations

import sys

from minidock.cli.flags import Command, Options


def run(_options: Options) -> int:
    """Print the findings; 1 when minidock cannot run here."""
    if sys.flags.no_site:
        import site

        site.main()  # the command line starts without site-packages, and the kernel's modules need them
    from minidock.learn import doctor

    return doctor.report()


COMMANDS = {"doctor": Command("doctor", "", "Check this machine, and say how to mend what is missing", run)}
