"""Read a table of images, CSV or Parquet, row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compress.contracts import BadInput, MissingTool
from compress.plugins import did_you_mean
from compress.system.bounded_reading import read_text

SUFFIXES = (".csv", ".parquet")
_MOST_BYTES = 2**30


def read_table(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each row is, for errors, and its cells by column: those of ``columns`` that the table has.

    Raises:
        BadInput: the file cannot be read, or has no column ``path``.
        MissingTool: pyarrow, which reads Parquet, is not installed.
    """
    return _parquet(file, columns) if file.suffix == ".parquet" else _csv(file, columns)


def _csv(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    text = read_text(file, _MOST_BYTES).removeprefix("\ufeff")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, restkey="", strict=True)
        _need_path(file, [name or "" for name in reader.fieldnames or ()])
        for cells in reader:
            if cells.get(""):
                raise BadInput(f"{file}:{reader.line_num}: has more cells than the first line has columns")
            yield f"{file}:{reader.line_num}", {key: value for key, value in cells.items() if key in columns}
    except (ValueError, csv.Error) as error:
        raise BadInput(f"{file}: cannot be read ({error})") from error


def _parquet(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise MissingTool(
            f"{file}: reading it needs pyarrow, not installed here; install it with: "
            'pip install "compress-retrieval[parquet]"'
        ) from error
    try:
        names = parquet.read_schema(file).names
        _need_path(file, names)
        found = parquet.read_table(file, columns=[name for name in columns if name in names]).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read ({' '.join(str(error).split())[:300]})") from error
    for number, cells in enumerate(found, start=1):
        yield f"{file}: row {number}", cells


def _need_path(file: Path, columns: Sequence[str]) -> None:
    if "path" not in columns:
        near = did_you_mean("path", list(columns))
        raise BadInput(f"{file}: has no column 'path'{near} (it has {', '.join(columns) or 'none'})")
