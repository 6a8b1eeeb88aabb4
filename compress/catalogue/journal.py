"""Keep finished embeddings on disk while a command runs, so that a killed command goes on where it stopped."""

from __future__ import annotations

import errno
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.contracts import BadInput, MissingTool
from compress.system.files import remove

_SECONDS = 1.0
"""Time between two commits. Each waits for the disk, which a commit for every chunk would do many times a second."""

_TABLES = """
CREATE TABLE key (value TEXT NOT NULL);
CREATE TABLE done (
  sha256 BLOB PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL,
  thumbnail BLOB NOT NULL, feature BLOB NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Finished:
    """What a command stores of one photograph, by the sha256 of its file."""

    sha256: bytes
    width: int
    height: int
    thumbnail: bytes
    feature: bytes


class Journal:
    """The finished photographs of one unfinished command."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._committed = time.monotonic()

    def add(self, finished: Iterable[Finished]) -> None:
        """Store them; a kill loses those of the last second, any other end of the command none."""
        rows = [(each.sha256, each.width, each.height, each.thumbnail, each.feature) for each in finished]
        self._database.executemany("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?)", rows)
        if time.monotonic() - self._committed >= _SECONDS:
            self._database.commit()
            self._committed = time.monotonic()

    def known(self) -> set[bytes]:
        """The sha256 of every finished file."""
        return {sha256 for (sha256,) in self._database.execute("SELECT sha256 FROM done")}

    def find(self, sha256: bytes) -> Finished:
        """The photograph with this sha256, one of ``known``."""
        query = "SELECT sha256, width, height, thumbnail, feature FROM done WHERE sha256 = ?"
        return Finished(*self._database.execute(query, (sha256,)).fetchone())


@contextmanager
def open_journal(beside: Path, key: Mapping[str, Any]) -> Iterator[Journal]:
    """Open the journal of the file ``beside``; it is deleted when the block ends without an error.

    Args:
        key: everything that the finished values depend on, JSON values; a journal with another key is emptied.

    Raises:
        BadInput: the folder cannot be written.
        MissingTool: the disk is full.
    """
    path = beside.with_name(f".{beside.name}.journal")
    text = json.dumps(key, sort_keys=True)
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        database = _opened(path, text)
    except (OSError, sqlite3.OperationalError) as error:
        raise _one_line(beside, error) from error
    try:
        yield Journal(database)
    except sqlite3.OperationalError as error:
        raise _one_line(beside, error) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(beside) from error
    finally:
        with suppress(sqlite3.Error):  # of a full disk; what was committed before is kept
            database.commit()
        database.close()
    remove(path)


def _opened(path: Path, key: str) -> sqlite3.Connection:
    if path.exists():
        try:
            database = sqlite3.connect(path)
            if database.execute("SELECT value FROM key").fetchall() == [(key,)]:
                return database
            database.close()
        except sqlite3.DatabaseError:
            pass  # killed while it was made, or damaged: nothing in it can be trusted
        remove(path)
    database = sqlite3.connect(path)
    database.executescript(_TABLES)
    with database:
        database.execute("INSERT INTO key VALUES (?)", (key,))
    return database


def _one_line(file: Path, error: Exception) -> BadInput | MissingTool:
    if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
        return _full(file)
    return BadInput(f"{file}: cannot be written ({error})")


def _full(file: Path) -> MissingTool:
    return MissingTool(f"{file}: the disk is full; free some space and start the same command again")
