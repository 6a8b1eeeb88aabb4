"""Every artifact of a bundle on every runtime of its format, each loaded in a child process when first asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from compress.bundle.manifest import ArtifactEntry
from compress.contracts import MissingTool, Runtime
from compress.demo.systems import System
from validators import ArtifactError
from validators.resident import Resident


@dataclass(frozen=True)
class Engine:
    """One artifact on one runtime.

    Attributes:
        system: the name of its bundle on the page.
        file: the artifact's file name.
        entry: of the artifact in bundle.json.
        unavailable: why it cannot run here; None when it can.
    """

    system: str
    file: str
    entry: ArtifactEntry
    runtime: Runtime
    unavailable: str | None
    resident: Resident

    def embed(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """As ``Resident.embed``, but tried twice, because a process that died is started again."""
        try:
            return self.resident.embed(image)
        except ArtifactError:
            return self.resident.embed(image)

    @property
    def timed(self) -> bool:
        """A reference executor's time says nothing about any runtime."""
        return self.runtime.timed()


@contextmanager
def engines(systems: Sequence[System]) -> Iterator[list[Engine]]:
    """In the manifests' order, the runtimes of each artifact best first; their processes end with the context."""
    from validators import runtimes_for

    found = [
        Engine(system.name, file, entry, runtime, runtime.unavailable(), Resident(runtime, bundle.folder / entry.path))
        for system in systems
        for bundle in [system.now().bundle]
        for file, entry in bundle.artifacts.items()
        for runtime in runtimes_for(entry.format)
    ]
    try:
        yield found
    finally:
        for engine in found:
            engine.resident.close()


def find(known: list[Engine], file: str, runtime: str | None) -> Engine:
    """The engine of an artifact's file name on the named runtime, or on the best one that runs here.

    Raises:
        KeyError: there is no such artifact, or no such runtime for it.
        MissingTool: it cannot run here; the message says why.
    """
    able = [each for each in known if each.file == file]
    if not able:
        raise KeyError(f"artifact '{file[:80]}': the bundle has {', '.join(dict.fromkeys(e.file for e in known))}")
    if runtime is not None:
        names = ", ".join(each.runtime.component_name() for each in able)
        able = [each for each in able if each.runtime.component_name() == runtime]
        if not able:
            raise KeyError(f"runtime '{runtime[:80]}': {file} runs on {names}")
    for engine in able:
        if engine.unavailable is None:
            return engine
    raise MissingTool(f"{file}: {'; '.join(f'{e.runtime.component_name()}: {e.unavailable}' for e in able)}")
