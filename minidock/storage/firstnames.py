"""Which name a file had first: what a tar needs to know of every file with several names.

A tree can have millions of them (package managers link all they install), a name can have thousands of bytes,
and the second one may be the last in the archive. So they are kept in an SQLite database without a name,
which lies in memory while it is small, then in an unlinked file below TMPDIR. inode(7), "Hard links".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


class FirstNames:
    """The first names in one archive; used and closed by one thread at a time."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None

    def first(self, file: os.stat_result, name: str) -> str:
        """Return the name that this file came under first: `name`, if it has not come before."""
        if self._database is None:
            import sqlite3  # it reads TMPDIR when it is imported, and the daemon sets that late

            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("CREATE TABLE names (file TEXT PRIMARY KEY, name BLOB) WITHOUT ROWID")
            self._database.execute("BEGIN")
        key = f"{file.st_dev}:{file.st_ino}"  # an inode number has 64 bits, SQLite's integers have 63
        self._database.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (key, os.fsencode(name)))
        (known,) = self._database.execute("SELECT name FROM names WHERE file = ?", (key,)).fetchone()
        return os.fsdecode(known)

    def close(self) -> None:
        """Forget all of them."""
        if self._database is not None:
            self._database.close()
