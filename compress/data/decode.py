"""Decode every image of a data set once, into a memory-mapped array that later runs reuse.

A cache entry is a folder named by the sha256 of everything its content depends on. It is made under another name
and renamed when complete, so that the entry of a killed run is never used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from filelock import FileLock
from PIL import Image
from platformdirs import user_cache_path

from compress.contracts import ArchivedImage, BadInput, ImageArray, Preprocess, PublishedImage
from compress.data.formats import heif_version
from compress.data.images import UndecodableImageError, preprocess_image, read_archived, read_image, read_published
from compress.system.files import atomic

Sources = Sequence[Path | PublishedImage | ArchivedImage] | np.ndarray
"""N files or parts of files, or uint8 [N, h, w] or [N, h, w, 3]."""

# Raise it when the same file would give other pixels.
_VERSION = 1
_CHUNK = 32


@dataclass(frozen=True)
class Decoded:
    """The images of ``Sources``, row by row.

    Attributes:
        images: uint8 [N, H, W, 3]; rows in ``skipped`` hold no image.
        digests: uint8 [N, 32], sha256 of each row's pixels.
        skipped: row -> why it could not be decoded.
    """

    images: ImageArray
    digests: np.ndarray
    skipped: dict[int, str]


class ImageRows:
    """Some rows of a larger set of images, in a given order, read on access."""

    def __init__(self, images: ImageArray, rows: np.ndarray) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        return np.asarray(self._images[self._rows[index]])


class ImagesOnDemand:
    """Images decoded each time they are asked for, by a few threads (Pillow decodes outside the interpreter lock)."""

    def __init__(self, sources: Sources, preprocess: Preprocess, threads: int) -> None:
        self._sources, self._preprocess = sources, preprocess
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        rows = np.arange(len(self))[index]
        if rows.ndim == 0:
            return self._decode(int(rows))
        H, W = self._preprocess.size
        out = np.empty((len(rows), H, W, 3), np.uint8)
        for place, pixels in enumerate(self._threads.map(self._decode, rows.tolist())):
            out[place] = pixels
        return out

    def _decode(self, row: int) -> np.ndarray:
        source = self._sources[row]
        try:
            return _decode_one(source, self._preprocess)
        except UndecodableImageError as error:
            raise BadInput(f"{source}: {error}; the file has changed since the run started") from error


def decode_on_demand(sources: Sources, preprocess: Preprocess, *, workers: int, progress: bool) -> Decoded:
    """Decode everything once, keeping only what is needed to skip and identify images; nothing is written."""
    digests, skipped = _decode_all(sources, preprocess, lambda pixels: None, workers, progress)
    return Decoded(ImagesOnDemand(sources, preprocess, workers), digests, skipped)


def decode_to_cache(
    sources: Sources, ids: Sequence[str], preprocess: Preprocess, cache_dir: Path, *, workers: int, progress: bool
) -> Decoded:
    """Decode into ``cache_dir``, or reuse what an earlier run left there.

    Files are recognised by id, size and time of change; arrays by content.

    Raises:
        BadInput: the cache folder cannot be written or has too little room.
    """
    H, W = preprocess.size
    shape = (len(sources), H, W, 3)
    entry = cache_dir / _key(sources, ids, preprocess)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_suffix(".lock")):  # a killed process gives it up
            decoded = _open_entry(entry, shape)
            if decoded is None:
                _make_entry(entry, shape, sources, preprocess, workers, progress)
                decoded = _open_entry(entry, shape)
    except OSError as error:
        raise BadInput(
            f"cannot keep decoded images in {cache_dir}: {error.strerror or error}; "
            "name another folder in the environment variable COMPRESS_CACHE, or set data.cache=none"
        ) from error
    assert decoded is not None, entry
    return decoded


def _key(sources: Sources, ids: Sequence[str], preprocess: Preprocess) -> str:
    version = [
        _VERSION,
        PIL.__version__,
        *([heif] if (heif := heif_version()) else []),
        preprocess.size,
        preprocess.crop,
        preprocess.interpolation,
        preprocess.antialias,
        *(preprocess.mean if preprocess.crop == "pad" else ()),
    ]
    sha = hashlib.sha256(json.dumps(version).encode())
    if isinstance(sources, np.ndarray):
        sha.update(json.dumps(sources.shape).encode())
        sha.update(np.ascontiguousarray(sources).data)
    else:
        for name, source in zip(ids, sources, strict=True):
            path, how = _origin(source)
            sha.update(json.dumps([name, _status(path), *how]).encode())
    return sha.hexdigest()[:32]


def _origin(source: Path | PublishedImage | ArchivedImage) -> tuple[Path, list[Any]]:
    """The file of a source, and what else decides its pixels."""
    if isinstance(source, PublishedImage):
        return source.path, ["published", source.box]
    if isinstance(source, ArchivedImage):
        return source.path, ["archived", source.offset, source.size]
    return source, []


def _status(path: Path) -> list[int] | None:
    """Size and time of change; None for a link to nothing or a name that no file can have: decoding lists those."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _open_entry(entry: Path, shape: tuple[int, ...]) -> Decoded | None:
    """A finished entry; None where there is none or a file of it is damaged."""
    try:
        images = np.load(entry / "images.npy", mmap_mode="r")
        digests = np.load(entry / "digests.npy")
        skipped = json.loads((entry / "skipped.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if images.shape != shape or images.dtype != np.uint8 or digests.shape != (shape[0], 32):
        return None
    return Decoded(images, digests, {int(row): reason for row, reason in skipped.items()})


def _make_entry(
    entry: Path, shape: tuple[int, ...], sources: Sources, preprocess: Preprocess, workers: int, progress: bool
) -> None:
    shutil.rmtree(entry, ignore_errors=True)  # it is damaged, and takes room
    with atomic(entry) as unfinished:
        needed, free = int(np.prod(shape)), shutil.disk_usage(entry.parent).free
        if needed > free:
            raise OSError(f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        unfinished.mkdir()
        # Written in order rather than through a memory map, where a full disk kills the process without a message.
        with (unfinished / "images.npy").open("wb") as file:
            _write_npy_header(file, shape)
            digests, skipped = _decode_all(
                sources, preprocess, lambda pixels: file.write(pixels.data), workers, progress
            )
        np.save(unfinished / "digests.npy", digests)
        (unfinished / "skipped.json").write_text(json.dumps(skipped), encoding="utf-8")


def _write_npy_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    description = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)


def _decode_all(
    sources: Sources, preprocess: Preprocess, keep: Callable[[np.ndarray], Any], workers: int, progress: bool
) -> tuple[np.ndarray, dict[int, str]]:
    """Pass the pixels of each chunk, in order, to ``keep``; return the digests and the skipped rows."""
    digests, skipped, done = [], {}, 0
    chunks = [sources[start : start + _CHUNK] for start in range(0, len(sources), _CHUNK)]
    with _progress(len(sources), progress) as advance:
        for pixels, reasons in _in_threads(chunks, preprocess, workers):
            keep(pixels)
            digests += [hashlib.sha256(image.data).digest() for image in pixels]
            skipped.update({done + row: reason for row, reason in reasons.items()})
            done += len(pixels)
            advance(len(pixels))
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), skipped


def _in_threads(
    chunks: list[Sources], preprocess: Preprocess, workers: int
) -> Iterator[tuple[np.ndarray, dict[int, str]]]:
    """The decoded chunks in order, a few ahead of the consumer.

    Threads, because Pillow decodes and resizes outside the interpreter lock: photographs take 0.85 of the time of
    as many processes, and a killed run leaves no orphans behind.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    ahead: deque[Future[tuple[np.ndarray, dict[int, str]]]] = deque()
    try:
        for chunk in chunks:
            ahead.append(pool.submit(_decode_chunk, chunk, preprocess))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_chunk(chunk: Sources, preprocess: Preprocess) -> tuple[np.ndarray, dict[int, str]]:
    H, W = preprocess.size
    pixels = np.zeros((len(chunk), H, W, 3), np.uint8)
    reasons = {}
    for row, source in enumerate(chunk):
        try:
            pixels[row] = _decode_one(source, preprocess)
        except UndecodableImageError as error:
            reasons[row] = str(error)
    return pixels, reasons


def _decode_one(source: Path | PublishedImage | ArchivedImage | np.ndarray, preprocess: Preprocess) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return preprocess_image(Image.fromarray(source), preprocess)
    if isinstance(source, PublishedImage):
        return read_published(source, preprocess)
    if isinstance(source, ArchivedImage):
        return read_archived(source, preprocess)
    return read_image(source, preprocess)


@contextmanager
def _progress(total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line every ten seconds in a log."""
    if shown and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("decoding images", total=total)
            yield lambda count: bar.advance(task, count)
        return

    done, last = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if shown and time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"decoding images: {done} of {total}", file=sys.stderr, flush=True)

    yield advance


def default_cache_dir() -> Path:
    """``$COMPRESS_CACHE``; otherwise the system's folder for caches, ``~/.cache/compress`` on Linux."""
    if folder := os.environ.get("COMPRESS_CACHE"):
        return Path(folder).expanduser()
    return user_cache_path("compress", appauthor=False)
