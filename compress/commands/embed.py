"""``compress embed``: the embeddings of many photographs in one Parquet or NumPy file, as a batch job."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.bundle.manifest import read_manifest
from compress.catalogue.embedding import Engine, Row, Undecodable, embed_photographs, open_engine
from compress.catalogue.journal import Finished, Journal, open_journal
from compress.catalogue.one_writer import alone
from compress.catalogue.outside import require_outside
from compress.catalogue.photographs import FOLDERS, Photograph, file_hashes, find_photographs
from compress.contracts import BadInput, MissingTool
from compress.system.files import artifact_sha256, atomic, write_text
from compress.system.progress import ticker

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".parquet", ".npy")
_ROWS = 1024
"""Rows of one group of a Parquet file, which readers load at once."""


@dataclass(frozen=True)
class Job:
    """What a job did.

    Attributes:
        file: what was written.
        images: number of its rows.
        embedded: number of photographs that this call embedded; an interrupted call had embedded the others.
        left_out: files without a row, by name, with the reason.
    """

    file: Path
    images: int
    embedded: int
    left_out: Mapping[str, str]


def embed(
    folder: Path,
    places: Sequence[Path | str],
    out: Path,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    labels: str = FOLDERS,
    workers: int | None = None,
    ray: str | None = None,
) -> Job:
    """Embed photographs with one artifact of the bundle in ``folder``.

    A ``.parquet`` file has the columns name, label, sha256 (of the photograph's file) and embedding (float32 [D], as
    the artifact gives it); its metadata name the space, the distance and the artifact. A ``.npy`` file holds float32
    [N, D], and ``.csv`` beside it the other columns. Rows are sorted by name.

    Args:
        places, labels: as ``find_photographs``.
        artifact, runtime: as ``choose_artifact``.
        workers: number of processes; by default one per core.
        ray: address of a Ray cluster, or ``local``; None uses the processes of this machine.

    Raises:
        BadInput, MissingTool, ArtifactError: as ``find_photographs`` and ``choose_artifact``; ``out`` has another
            suffix; no photograph can be decoded; another command writes ``out``; pyarrow is not installed; the disk is
            full; as ``embed_on_ray``.
    """
    if out.suffix not in SUFFIXES:
        raise BadInput(f"--out {out}: give a file with the suffix {' or '.join(SUFFIXES)}")
    if out.suffix == ".parquet":
        _require_pyarrow()
    manifest = read_manifest(folder)
    require_outside(folder, out, places)
    photographs = find_photographs(places, labels)
    engine = open_engine(folder, manifest, artifact, runtime, workers)
    about = {
        "space_id": manifest.embedding.space_id,
        "distance": manifest.embedding.distance,
        "kind": manifest.embedding.kind,
        "dtype": "float32",
        "artifact": engine.artifact.name,
        "artifact_sha256": artifact_sha256(engine.artifact),
        "runtime": engine.runtime.version(),
    }
    left_out = dict(photographs.left_out)
    with alone(out), open_journal(out, {"embed": about}) as journal:
        rows, count = _embedded(_embedder(engine, ray, workers), photographs.found, journal, left_out)
        if not rows:
            raise BadInput(f"{out}: none of {len(photographs.found):,} photographs could be decoded")
        write = _write_parquet if out.suffix == ".parquet" else _write_npy
        write(out, rows, journal, about)
    return Job(out, len(rows), count, dict(sorted(left_out.items())))


_Embedder = Callable[[Sequence[Photograph]], Generator[Sequence[Row | Undecodable], None, None]]


def _embedder(engine: Engine, ray: str | None, workers: int | None) -> _Embedder:
    if ray is None:
        return lambda photographs: embed_photographs(engine, photographs)
    from compress.catalogue.ray_workers import embed_on_ray

    return lambda photographs: embed_on_ray(engine, photographs, ray, workers)


def _embedded(
    embedder: _Embedder, photographs: Sequence[Photograph], journal: Journal, left_out: dict[str, str]
) -> tuple[list[tuple[Photograph, bytes]], int]:
    """Embed what the journal does not hold; returns each decodable photograph's sha256, and how many are new."""
    finished = journal.known()
    hashes = zip(photographs, file_hashes(photographs), strict=True) if finished else ()
    known = {photograph.name: sha256 for photograph, sha256 in hashes if sha256 in finished}
    todo = [each for each in photographs if each.name not in known]
    count = 0
    with ticker("embed", len(todo), "photographs") as bar, closing(embedder(todo)) as batches:
        for some in batches:
            done = [each for each in some if isinstance(each, Row)]
            journal.add(Finished(each.sha256, 0, 0, b"", each.embedding.tobytes()) for each in done)
            known.update((each.photograph.name, each.sha256) for each in done)
            left_out.update((each.photograph.name, each.reason) for each in some if isinstance(each, Undecodable))
            count += len(done)
            bar.advance(len(some))
    return [(each, known[each.name]) for each in photographs if each.name in known], count


def _features(rows: Sequence[tuple[Photograph, bytes]], journal: Journal) -> np.ndarray:
    """float32 [n, D]."""
    joined = b"".join(journal.find(sha256).feature for _, sha256 in rows)
    return np.frombuffer(joined, np.float32).reshape(len(rows), -1)


def _groups(rows: Sequence[tuple[Photograph, bytes]]) -> Iterator[Sequence[tuple[Photograph, bytes]]]:
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))


def _write_parquet(
    out: Path, rows: Sequence[tuple[Photograph, bytes]], journal: Journal, about: Mapping[str, Any]
) -> None:
    import pyarrow
    from pyarrow import parquet

    dim = _features(rows[:1], journal).shape[1]
    schema = pyarrow.schema(
        {
            "name": pyarrow.string(),
            "label": pyarrow.string(),
            "sha256": pyarrow.binary(32),
            "embedding": pyarrow.list_(pyarrow.float32(), dim),
        },
        metadata={key: str(value) for key, value in about.items()},
    )
    with atomic(out) as unfinished, parquet.ParquetWriter(unfinished, schema) as writer:
        for group in _groups(rows):
            writer.write_table(_table(group, journal, schema))


def _table(rows: Sequence[tuple[Photograph, bytes]], journal: Journal, schema: pyarrow.Schema) -> pyarrow.Table:
    import pyarrow

    values = pyarrow.array(_features(rows, journal).reshape(-1), pyarrow.float32())
    columns = [
        pyarrow.array([photograph.name for photograph, _ in rows]),
        pyarrow.array([photograph.label for photograph, _ in rows]),
        pyarrow.array([sha256 for _, sha256 in rows], pyarrow.binary(32)),
        pyarrow.FixedSizeListArray.from_arrays(values, type=schema.field("embedding").type),
    ]
    return pyarrow.Table.from_arrays(columns, schema=schema)


def _write_npy(out: Path, rows: Sequence[tuple[Photograph, bytes]], journal: Journal, about: Mapping[str, Any]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "label", "sha256"])
    writer.writerows([photograph.name, photograph.label, sha256.hex()] for photograph, sha256 in rows)
    write_text(out.with_suffix(".csv"), table.getvalue())
    dim = _features(rows[:1], journal).shape[1]
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), dim)}
    with atomic(out) as unfinished, unfinished.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for group in _groups(rows):
            file.write(_features(group, journal).tobytes())


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingTool(
            "Parquet files need 'pyarrow', which is not installed; install it with: "
            'pip install "compress-retrieval[parquet]", or write a .npy file'
        ) from error
