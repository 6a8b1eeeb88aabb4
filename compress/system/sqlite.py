"""The SQLite files of a bundle: written atomically and reproducibly, read without leaving files beside them.

The same rows give the same bytes with the same version of SQLite (its number is in the file's header): fixed page
size, rows in the caller's order, no clock, VACUUM at the end.
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from compress.system.bounded_reading import parse_json
from compress.system.files import atomic
from compress.system.path_containment import open_file

_STEP = 10_000
_OPERATIONS, _OPERATIONS_A_BYTE = 10_000_000, 10
"""Steps of SQLite's virtual machine that reading a file may take: a row of a few columns needs tens of them."""


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


class Reader:
    """An open, untrusted file. Reading a table always ends and takes no more memory than the file's size."""

    def __init__(self, path: Path) -> None:
        """Open ``path`` read-only, without lock or journal files beside it, and check its schema.

        Raises:
            OSError, ValueError, sqlite3.Error: it is not a file or not a database, or holds more than ordinary tables.
        """
        with open_file(path) as file:
            size = file.seek(0, io.SEEK_END)
        self._left = _OPERATIONS + _OPERATIONS_A_BYTE * size
        self._bytes = size
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(1_000_000, size))
            self._connection.set_progress_handler(self._count, _STEP)
            self._connection.executescript("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")
            self._require_ordinary_tables()
        except BaseException:
            self.close()
            raise

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Raises:
            ValueError: they hold more than the file, as only a damaged one can.
            sqlite3.Error: the file is damaged, or reading it takes more steps than a sound file of its size needs.
        """
        found, taken = [], 0
        for row in self._connection.execute(query, values):
            taken += sum(len(cell) for cell in row if isinstance(cell, bytes | str))
            if taken > self._bytes:
                raise ValueError("its rows hold more bytes than the file")
            found.append(row)
        return found

    def values(self, table: str) -> dict[str, Any]:
        """A table of the columns key and value, the values being JSON."""
        return {key: parse_json(value) for key, value in self.rows(f"SELECT key, value FROM {table}")}

    def close(self) -> None:
        self._connection.close()

    def _count(self) -> int:
        """SQLite stops the query where this is not 0."""
        self._left -= _STEP
        return self._left < 0

    def _require_ordinary_tables(self) -> None:
        """A view could compute for ever, a generated column return what no row holds."""
        for kind, name, statement in self.rows("SELECT type, name, sql FROM sqlite_master"):
            automatic = kind == "index" and statement is None
            ordinary = kind == "table" and str(statement).upper().startswith("CREATE TABLE ")
            if not automatic and not ordinary:
                raise ValueError(f"{str(name)[:40]!r} is a {str(kind)[:10]} that Compress did not write")
            if any(column[6] for column in self.rows("SELECT * FROM pragma_table_xinfo(?)", (name,))):
                raise ValueError(f"a column of {str(name)[:40]!r} is generated")
