"""SQLite files that a bundle carries: written whole, the same bytes every time, read without a trace.

The same rows give the same bytes with the same version of SQLite (its number stands in the file's header): fixed page
size, rows in the caller's order, no clock, VACUUM at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from compress.system.files import atomic


@contextmanager
def written(path: Path, tables: str) -> Iterator[sqlite3.Connection]:
    """A database with these empty tables, to fill; it appears at ``path`` when the context ends without an error."""
    with atomic(path) as unfinished, closing(sqlite3.connect(unfinished, isolation_level=None)) as database:
        # Without a journal: after a crash the unfinished file is deleted, never repaired.
        database.executescript("PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-8'; PRAGMA journal_mode = OFF;")
        database.executescript(tables)
        database.execute("BEGIN")
        yield database
        database.execute("COMMIT")
        database.execute("VACUUM")


def opened(path: Path) -> sqlite3.Connection:
    """Read-only and without lock or journal files beside the bundle."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
