"""The list of what set-up added to this machine, so that `./demo --uninstall` takes back just that."""

import json
import os
from dataclasses import asdict, dataclass, field

from setup import places


@dataclass
class Record:
    """What was added: Debian packages that were not there before, and links in /usr/local/bin."""

    packages: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    source: str = ""  # digest of the installed copy of the package `minidock`


def read() -> Record:
    """Return what was recorded; an empty record when nothing was ever set up."""
    try:
        return Record(**json.loads(places.RECORD.read_text()))
    except FileNotFoundError:
        return Record()


def write(record: Record) -> None:
    """Replace the record in one step (needs root)."""
    places.SYSTEM.mkdir(mode=0o755, exist_ok=True)
    temporary = places.RECORD.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record), indent=2) + "\n")
    temporary.chmod(0o644)
    os.rename(temporary, places.RECORD)
