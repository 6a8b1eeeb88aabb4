"""A catalogue that changes, and the rate of a batch job: ``python -m benchmarks.gallery BUNDLE FOLDER [ARTIFACT]``.

FOLDER holds more than 10,500 photographs, in any folders. 10,000 are indexed; then 500 are added, 200 removed and 100
edited, and the gallery is brought up to date and compared with a fresh one, byte by byte.

Before, a worker of ``compress embed`` is compared with the artifact alone, on pixels that are already decoded. Each of
the job's workers decodes some photographs and then lets its artifact embed them, so that N workers keep N cores busy,
and so does the artifact alone in N processes: their rates are inverse to the processor time of a photograph, which is
measured, because other programs change it less than the clock. Decoding happens on the same cores, so no job is faster
than both one after the other. All is measured in turn. Linux.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from shutil import copyfile

import numpy as np
from PIL import Image, ImageOps

from compress.bundle.manifest import read_manifest
from compress.catalogue.embedding import CHUNK, embed_chunk, open_engine
from compress.catalogue.photographs import find_photographs
from compress.commands.index import index
from compress.data.images import read_image
from validators.resident import Resident

FIRST, ADDED, REMOVED, EDITED = 10_000, 500, 200, 100
RATE, ROUNDS = 400, 7


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
    """Processor time of a photograph: decoding, the artifact alone, and the job; medians of the rounds."""
    engine = open_engine(bundle, read_manifest(bundle), artifact, None, 1)
    found = find_photographs([folder]).found
    photographs = [found[row * len(found) // RATE] for row in range(min(RATE, len(found)))]
    chunks = [photographs[start : start + CHUNK] for start in range(0, len(photographs), CHUNK)]
    pixels = [np.stack([read_image(each.path, engine.preprocess) for each in chunk]) for chunk in chunks]

    with closing(Resident(engine.runtime, engine.artifact)) as resident:
        embed_chunk(resident, chunks[0], engine.preprocess)  # its process has started

        def decode() -> None:
            for each in photographs:
                read_image(each.path, engine.preprocess)

        def alone() -> None:
            for part in pixels:
                resident.embed_all(part)

        def job() -> None:
            for chunk in chunks:
                embed_chunk(resident, chunk, engine.preprocess)

        rounds = [[spent(work) / len(photographs) for work in (decode, alone, job)] for _ in range(ROUNDS)]
    decoding, bare, whole = np.median(rounds, axis=0)
    ratios = np.median([(i / j, max(d, i) / j, (d + i) / j) for d, i, j in rounds], axis=0)
    return [
        f"{engine.artifact.name} on {engine.runtime.title()}, {len(photographs):,} files, milliseconds a photograph:",
        f"decoding {decoding:.2f}, the artifact alone {bare:.2f}, the job {whole:.2f}; rate of the job to that of",
        f"the artifact alone {ratios[0]:.2f} (at most {bare / (bare + decoding):.2f} with decoding), the slower one "
        f"alone {ratios[1]:.2f}, both one after the other {ratios[2]:.2f}",
    ]


def spent(work: Callable[[], None]) -> float:
    """Milliseconds of processor time that this process and those that it started spend on it."""
    start = processor_time()
    work()
    return 1000 * (processor_time() - start)


def processor_time() -> float:
    """Seconds of this process and of the threads of its children, as the scheduler counts them."""
    total = time.process_time()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                counts = [(thread / "schedstat").read_text(encoding="ascii") for thread in process.glob("task/*")]
                total += sum(int(count.split()[0]) for count in counts) / 1e9
    return total


def main(bundle: Path, folder: Path, artifact: str | None = None) -> None:
    for line in rates(bundle, folder, artifact):
        print(line, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for line in changes(bundle, folder, artifact, Path(scratch)):
            print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])
