"""Decode and embed many photographs on a Ray cluster: each worker holds one runtime.

Ray starts a worker that died again, on another machine if need be, and gives it the photographs that it had. Workers
read photographs and artifact by their paths, so every machine must see both under the same paths, as on a network
folder. They are actors of Ray itself, not a Ray Data set, whose blocks would be the unit of results and of retries;
here that is a chunk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from compress.catalogue.embedding import CHUNK, Engine, Row, Undecodable, default_workers, embed_chunk
from compress.catalogue.photographs import Photograph
from compress.contracts import BadInput, CompressError, MissingTool
from compress.system.files import artifact_sha256
from validators import ArtifactError
from validators.resident import Resident

LOCAL = "local"
"""The address that starts a cluster of this machine alone."""
_AHEAD = 2
"""Chunks that each worker has at a time: one to work on, one that waits."""
_RETRIES = 3


def embed_on_ray(
    engine: Engine, photographs: Sequence[Photograph], address: str, workers: int | None
) -> Generator[list[Row | Undecodable], None, None]:
    """Yield the photographs, some at a time, in the order in which they are finished.

    The embeddings are those of ``embed_photographs`` to the last bit, if the machines' processors are of one kind.

    Args:
        engine: what embeds; its number of processes is that of this machine, and is not used.
        address: of the cluster, as ``ray.init`` takes it, or ``local``.
        workers: number of workers; by default one per core of the cluster.

    Raises:
        MissingTool: Ray is not installed.
        BadInput: there is no cluster at the address.
        ArtifactError: as ``embed_photographs``; a worker sees another artifact, or dies over and over.
    """
    chunks = [photographs[start : start + CHUNK] for start in range(0, len(photographs), CHUNK)]
    with _cluster(address, workers) as (ray, cores):
        worker = ray.remote(_Worker).options(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)
        expected = artifact_sha256(engine.artifact)
        count = min(workers or cores, len(chunks))
        actors = [worker.remote(engine, expected) for _ in range(count)]
        waiting = iter(chunks)
        running = {
            actor.embed.remote(chunk): actor
            for actor in (each for _ in range(_AHEAD) for each in actors)
            for chunk in islice(waiting, 1)
        }
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            actor = running.pop(done)
            running.update({actor.embed.remote(chunk): actor for chunk in islice(waiting, 1)})
            yield _result(ray, done)


class _Worker:
    """An actor: the artifact on its runtime, in a process of one thread that this one started."""

    def __init__(self, engine: Engine, expected: str) -> None:
        """``expected`` is the sha256 of the artifact that this machine must see, too."""
        self._engine, self._expected = engine, expected
        self._resident: Resident | None = None

    def embed(self, chunk: Sequence[Photograph]) -> list[Row | Undecodable]:
        """The rows without pixels, which would have to be sent."""
        return [
            each if isinstance(each, Undecodable) else Row(each.photograph, each.sha256, each.embedding)
            for each in embed_chunk(self._runtime(), chunk, self._engine.preprocess)
        ]

    def _runtime(self) -> Resident:
        """Not made with the actor: Ray would restart one whose constructor fails over and over."""
        if self._resident is None:
            artifact = self._engine.artifact
            if not artifact.exists() or artifact_sha256(artifact) != self._expected:
                raise ArtifactError(
                    f"{artifact}: is missing or another file on {os.uname().nodename}; put the bundle where every "
                    "machine of the cluster sees it under this path"
                )
            self._resident = Resident(self._engine.runtime, artifact)
        return self._resident


@contextmanager
def _cluster(address: str, workers: int | None) -> Iterator[tuple[Any, int]]:
    """Ray, connected to the cluster, and the cluster's cores."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send statistics to its makers
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingTool(
            '--ray needs ray, not installed here; install it with: pip install "compress-retrieval[ray]"'
        ) from error
    own: dict[str, Any] = (
        {"num_cpus": workers or default_workers(), "include_dashboard": False} if address == LOCAL else {}
    )
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"--ray {address}: no cluster answers there ({reason}); start one with 'ray start --head', or give {LOCAL}"
        ) from error
    try:
        yield ray, int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def _result(ray: Any, done: Any) -> list[Row | Undecodable]:
    try:
        found: list[Row | Undecodable] = ray.get(done)
        return found
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, CompressError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ArtifactError(
            f"--ray: a worker died {_RETRIES + 1} times over the same photographs ({lines[0] if lines else error}); "
            "what is finished is kept: start the same command again"
        ) from error
