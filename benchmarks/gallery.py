"""A catalogue that changes, and the rate of a batch job: ``python -m benchmarks.gallery BUNDLE FOLDER [ARTIFACT]``.

FOLDER holds more than 10,500 photographs, in any folders. 10,000 are indexed; then 500 are added, 200 removed and 100
edited, and the gallery is brought up to date and compared with a fresh one, byte by byte. The batch job of ``compress
embed``, decoding included, is compared with the artifact alone on pixels that are already decoded, with as many
processes; both are measured in turn, three times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copyfile

import numpy as np
from PIL import Image, ImageOps

from compress.bundle.manifest import read_manifest
from compress.catalogue.embedding import Embedded, Engine, embed_photographs, open_engine
from compress.catalogue.photographs import Photograph, find_photographs
from compress.commands.index import index
from compress.data.images import read_image
from validators.resident import Resident

FIRST, ADDED, REMOVED, EDITED = 10_000, 500, 200, 100
RATE, ROUNDS, CHUNK, WARM_UP = 2_000, 3, 16, 10


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
    """Photographs per second of the job and of the artifact alone, medians and their ratio."""
    engine = open_engine(bundle, read_manifest(bundle), artifact, None, None)
    photographs = find_photographs([folder]).found[:RATE]
    pixels = np.stack([read_image(each.path, engine.preprocess) for each in photographs])
    both = [(job(engine, photographs), alone(engine, pixels)) for _ in range(ROUNDS)]
    whole, bare = (float(np.median([pair[part] for pair in both])) for part in (0, 1))
    ratio = float(np.median([one / other for one, other in both]))
    return [
        f"{engine.artifact.name} on {engine.runtime.title()}, {engine.workers} processes, {len(photographs):,} files",
        f"with files, decoding and hashing: {whole:,.0f} a second; the artifact alone: {bare:,.0f}; ratio {ratio:.2f}",
    ]


def job(engine: Engine, photographs: Sequence[Photograph]) -> float:
    """Photographs per second of ``compress embed``, after its processes have started."""
    count, start = 0, 0.0
    for number, some in enumerate(embed_photographs(engine, photographs)):
        if number == WARM_UP:  # the first ones wait for the processes
            count, start = 0, time.perf_counter()
        count += sum(isinstance(each, Embedded) for each in some)
    return count / (time.perf_counter() - start)


def alone(engine: Engine, pixels: np.ndarray) -> float:
    """Images per second of the artifact in as many processes, on pixels in memory."""
    residents = [Resident(engine.runtime, engine.artifact) for _ in range(engine.workers)]
    try:
        for resident in residents:
            resident.embed_all(pixels[:CHUNK])
        parts = np.array_split(pixels, engine.workers)

        def work(number: int) -> None:
            for start in range(0, len(parts[number]), CHUNK):
                residents[number].embed_all(parts[number][start : start + CHUNK])

        with ThreadPoolExecutor(engine.workers) as pool:
            start = time.perf_counter()
            list(pool.map(work, range(engine.workers)))
        return len(pixels) / (time.perf_counter() - start)
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
