"""A catalogue that changes, and the rate of a batch job: ``python -m benchmarks.gallery BUNDLE FOLDER [ARTIFACT]``.

FOLDER holds more than 10,500 photographs, in any folders. 10,000 are indexed; then 500 are added, 200 removed and 100
edited, and the gallery is brought up to date and compared with a fresh one, byte by byte.

Before, the batch job of ``compress embed`` is compared with the artifact alone, on pixels that are already decoded and
with as many processes: both keep every core busy, so their rates are inverse to the processor time that a photograph
takes, all processes together. That is measured, because other programs change it little. A photograph must be decoded
on these cores, too, so no job does better than the sum of both; decoding alone is measured on one thread. All three are
measured in turn, three times. Linux.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import copyfile

import numpy as np
from PIL import Image, ImageOps

from compress.bundle.manifest import read_manifest
from compress.catalogue.embedding import CHUNK, Engine, Row, embed_photographs, open_engine
from compress.catalogue.journal import Finished, open_journal
from compress.catalogue.photographs import Photograph, find_photographs
from compress.commands.index import index
from compress.data.images import read_image
from validators.resident import Resident

FIRST, ADDED, REMOVED, EDITED = 10_000, 500, 200, 100
RATE, ROUNDS, WARM_UP = 2_000, 3, 10


def catalogue(folder: Path, into: Path) -> tuple[list[Path], list[Path]]:
    """Copy the photographs, evenly spaced: those of the first index, and those that are added later."""
    found = [each.path for each in find_photographs([folder]).found]
    if len(found) < FIRST + ADDED:
        sys.exit(f"{folder}: {len(found):,} photographs; {FIRST + ADDED:,} are needed")
    chosen = [found[row * len(found) // (FIRST + ADDED)] for row in range(FIRST + ADDED)]
    # Copied alone: the names show no order, as in a real catalogue.
    names = np.random.default_rng(0).permutation(len(chosen))
    later = set(range(0, len(chosen), len(chosen) // ADDED)[:ADDED])
    copies: tuple[list[Path], list[Path]] = ([], [])
    for row, path in enumerate(chosen):
        target = into / f"{names[row] % 100:02d}" / f"{names[row]:05d}{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        copies[row in later].append(target)
        if row not in later:
            copyfile(path, target)
    pending = [chosen[row] for row in sorted(later)]
    return copies[0], [*copies[1], *pending]


def changes(bundle: Path, folder: Path, artifact: str | None, scratch: Path) -> list[str]:
    """The table of the catalogue that changes."""
    photos, file = scratch / "photos", scratch / "own.sqlite"
    present, rest = catalogue(folder, photos)
    targets, sources = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    lines = ["| | photographs | embedded | seconds |", "|---|---|---|---|"]

    def run(what: str, out: Path, sync: bool) -> None:
        start = time.perf_counter()
        _, update, _ = index(bundle, [photos], out, artifact=artifact, sync=sync)
        seconds = time.perf_counter() - start
        lines.append(f"| {what} | {update.images:,} | {update.embedded:,} | {seconds:.1f} |")

    run("first index", file, False)
    run("again, unchanged", file, True)
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        copyfile(source, target)
    random = np.random.default_rng(1).permutation(len(present))
    for row in random[:REMOVED]:
        present[row].unlink()
    for row in random[REMOVED : REMOVED + EDITED]:
        with Image.open(present[row]) as image:
            ImageOps.mirror(image).save(present[row], quality=90)
    run(f"{ADDED} added, {REMOVED} removed, {EDITED} edited", file, True)
    run("a fresh index of the same", scratch / "fresh.sqlite", False)
    equal = file.read_bytes() == (scratch / "fresh.sqlite").read_bytes()
    return [*lines, "", f"updated and fresh gallery: {'the same bytes' if equal else 'DIFFER'}"]


def rates(bundle: Path, folder: Path, artifact: str | None) -> list[str]:
    """Decoding, the artifact alone, and the job: milliseconds of processor time and photographs per second."""
    engine = open_engine(bundle, read_manifest(bundle), artifact, None, None)
    found = find_photographs([folder]).found
    photographs = [found[row * len(found) // RATE] for row in range(min(RATE, len(found)))]
    pixels = np.stack([read_image(each.path, engine.preprocess) for each in photographs])
    rounds = [(decoding(engine, photographs), alone(engine, pixels), job(engine, photographs)) for _ in range(ROUNDS)]
    each = np.median(rounds, axis=0)
    (decode, _), (bare, _), (whole, _) = each
    lines = [
        f"{engine.artifact.name} on {engine.runtime.title()}, {engine.workers} processes, {len(photographs):,} files",
        "| | processor ms a photograph | photographs a second |",
        "|---|---|---|",
    ]
    for what, (spent, rate) in zip(("decoding, one thread", "the artifact alone", "the job"), each, strict=True):
        lines.append(f"| {what} | {spent:.2f} | {rate:,.0f} |")
    return [
        *lines,
        f"of the artifact alone {bare / whole:.2f}, at most {bare / (bare + decode):.2f} beside decoding; "
        f"of the slower one alone {max(bare, decode) / whole:.2f}; of both together {(bare + decode) / whole:.2f}",
    ]


class Meter:
    """What this process and the processes that it started spend from here on."""

    def __init__(self) -> None:
        self._spent, self._clock = self._now(), time.perf_counter()

    @staticmethod
    def _now() -> float:
        """Seconds of processor time; those of children that have ended are missing."""
        total = time.process_time()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                values = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                if int(values[1]) == os.getpid():
                    total += (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def read(self, count: int) -> tuple[float, float]:
        """Milliseconds of processor time for each of ``count`` photographs, and photographs per second."""
        spent, seconds = self._now() - self._spent, time.perf_counter() - self._clock
        return 1000 * spent / count, count / seconds


def decoding(engine: Engine, photographs: Sequence[Photograph]) -> tuple[float, float]:
    """Decode on one thread."""
    some = photographs[: len(photographs) // 4]
    meter = Meter()
    for each in some:
        read_image(each.path, engine.preprocess)
    return meter.read(len(some))


def job(engine: Engine, photographs: Sequence[Photograph]) -> tuple[float, float]:
    """``compress embed`` without the table at its end, and without what it takes to start its processes.

    A job of the first photographs is taken off, which starts as many processes.
    """
    few = photographs[: WARM_UP * CHUNK]
    (spent, seconds), (spent_starting, seconds_starting) = whole_job(engine, photographs), whole_job(engine, few)
    count = len(photographs) - len(few)
    return (spent - spent_starting) / count, 1000 * count / (seconds - seconds_starting)


def whole_job(engine: Engine, photographs: Sequence[Photograph]) -> tuple[float, float]:
    """Milliseconds of processor time, and on the clock."""
    meter, count = Meter(), 0
    with tempfile.TemporaryDirectory() as folder, open_journal(Path(folder) / "features.npy", {}) as journal:
        for some in embed_photographs(engine, photographs):
            rows = [each for each in some if isinstance(each, Row)]
            journal.add(Finished(each.sha256, 0, 0, b"", each.embedding.tobytes()) for each in rows)
            count += len(some)
            if count == len(photographs):  # its processes still run
                spent, rate = meter.read(1)
                return spent, 1000 / rate
    raise AssertionError("fewer photographs came back than were given")


def alone(engine: Engine, pixels: np.ndarray) -> tuple[float, float]:
    """The artifact in as many processes, on pixels in memory."""
    residents = [Resident(engine.runtime, engine.artifact) for _ in range(engine.workers)]
    try:
        for resident in residents:
            resident.embed_all(pixels[:CHUNK])
        parts = np.array_split(pixels, engine.workers)

        def work(number: int) -> None:
            for start in range(0, len(parts[number]), CHUNK):
                residents[number].embed_all(parts[number][start : start + CHUNK])

        with ThreadPoolExecutor(engine.workers) as pool:
            meter = Meter()
            list(pool.map(work, range(engine.workers)))
        return meter.read(len(pixels))
    finally:
        for resident in residents:
            resident.close()


def main(bundle: Path, folder: Path, artifact: str | None = None) -> None:
    for line in rates(bundle, folder, artifact):
        print(line, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for line in changes(bundle, folder, artifact, Path(scratch)):
            print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])
