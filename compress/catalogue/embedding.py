"""Decode and embed many photographs with one artifact, on all cores."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from PIL import Image

from compress.bundle.artifact_choice import artifacts_by_name, choose_artifact
from compress.bundle.manifest import Manifest
from compress.catalogue.photographs import Photograph
from compress.contracts import BadInput, Preprocess, Runtime
from compress.data.formats import formats_of
from compress.data.images import UndecodableImageError, read_image
from compress.system.files import artifact_sha256
from validators import ArtifactError
from validators.resident import Resident

CHUNK = 16
"""Photographs that a process gets at a time."""
_KEPT_BLOCKS = 4
"""Blocks of 16 MB that Pillow keeps for each worker: room for a photograph of 16 megapixels."""


@dataclass(frozen=True)
class Row:
    """A photograph with its embedding.

    Attributes:
        sha256: of the file's bytes.
        embedding: float32 [D].
    """

    photograph: Photograph
    sha256: bytes
    embedding: np.ndarray


@dataclass(frozen=True)
class Embedded(Row):
    """A photograph with its embedding and its pixels.

    Attributes:
        pixels: uint8 [H, W, 3], as the artifact got them.
    """

    pixels: np.ndarray


@dataclass(frozen=True)
class Undecodable:
    """A photograph that could not be decoded, with the reason."""

    photograph: Photograph
    reason: str


@dataclass(frozen=True)
class Engine:
    """What embeds: an artifact on a runtime, in ``workers`` processes of one thread each."""

    runtime: Runtime
    artifact: Path
    preprocess: Preprocess
    workers: int


def default_workers() -> int:
    """One process per core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def embed_photographs(
    engine: Engine, photographs: Sequence[Photograph]
) -> Generator[list[Embedded | Undecodable], None, None]:
    """Yield the photographs in their order, some at a time.

    An embedding depends on the file and the artifact only: not on its batch, the number of workers or their order. A
    worker that dies is started again once for the photographs that it had.

    Raises:
        ArtifactError: the artifact does not run, or gives values that are not finite.
    """
    chunks = [photographs[start : start + CHUNK] for start in range(0, len(photographs), CHUNK)]
    with ExitStack() as stack:
        stack.enter_context(kept_memory(engine.workers))
        residents: SimpleQueue[Resident] = SimpleQueue()
        for _ in range(min(engine.workers, len(chunks))):
            residents.put(stack.enter_context(closing(Resident(engine.runtime, engine.artifact))))

        def work(chunk: Sequence[Photograph]) -> list[Embedded | Undecodable]:
            resident = residents.get()
            try:
                return embed_chunk(resident, chunk, engine.preprocess)
            finally:
                residents.put(resident)

        pool = ThreadPoolExecutor(engine.workers, thread_name_prefix="embed")
        ahead: deque[Future[list[Embedded | Undecodable]]] = deque()
        try:
            for chunk in chunks:
                ahead.append(pool.submit(work, chunk))
                if len(ahead) > 2 * engine.workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def kept_memory(workers: int) -> Iterator[None]:
    """Let Pillow use the memory of a decoded photograph again instead of giving it back to the system.

    A photograph of 12 megapixels is then decoded in a tenth less time, because its pages exist already.
    """
    memory = Image.core  # type: ignore[attr-defined]
    before = memory.get_blocks_max()
    memory.set_blocks_max(max(before, _KEPT_BLOCKS * workers))
    try:
        yield
    finally:
        memory.set_blocks_max(before)


def embed_chunk(
    resident: Resident, chunk: Sequence[Photograph], preprocess: Preprocess
) -> list[Embedded | Undecodable]:
    """Decode and embed some photographs in this process; the runtime is started again once if it dies."""
    decoded = [_decoded(photograph, preprocess) for photograph in chunk]
    pixels = [found[1] for found in decoded if not isinstance(found, Undecodable)]
    embeddings = iter(_embeddings(resident, np.stack(pixels)) if pixels else ())
    return [
        found
        if isinstance(found, Undecodable)
        else Embedded(photograph, sha256=found[0], embedding=next(embeddings), pixels=found[1])
        for photograph, found in zip(chunk, decoded, strict=True)
    ]


def _decoded(photograph: Photograph, preprocess: Preprocess) -> tuple[bytes, np.ndarray] | Undecodable:
    """The sha256 and the pixels of the same bytes, also if the file is replaced meanwhile."""
    try:
        content = photograph.path.read_bytes()
        pixels = read_image(io.BytesIO(content), preprocess, formats=formats_of(Path(photograph.name)))
    except UndecodableImageError as error:
        return Undecodable(photograph, str(error))
    except OSError as error:
        return Undecodable(photograph, error.strerror or str(error))
    return hashlib.sha256(content).digest(), pixels


def _embeddings(resident: Resident, pixels: np.ndarray) -> np.ndarray:
    try:
        found = resident.embed_all(pixels)
    except ArtifactError:
        found = resident.embed_all(pixels)  # in a new process
    if not np.isfinite(found).all():
        raise ArtifactError(f"{resident.what}: gives NaN or infinity, which cannot be searched")
    return found


def open_engine(
    folder: Path, manifest: Manifest, artifact: str | None, runtime: str | None, workers: int | None
) -> Engine:
    """Choose what embeds.

    Args:
        folder: the bundle that ``manifest`` describes.
        artifact, runtime: as ``choose_artifact``.
        workers: number of processes; by default one per core.

    Raises:
        BadInput, MissingTool: as ``choose_artifact``; the artifact is not the one in the manifest, or ``workers`` is
            below 1.
    """
    if workers is not None and workers < 1:
        raise BadInput(f"--workers {workers}: give 1 or more")
    entry, chosen = choose_artifact(folder, artifacts_by_name(manifest), artifact, runtime)
    path = folder / entry.path
    if artifact_sha256(path) != entry.sha256:
        raise BadInput(f"{path}: its sha256 differs from the manifest's, so it is not executed; make the bundle again")
    return Engine(chosen, path, manifest.preprocess.value, workers or default_workers())
