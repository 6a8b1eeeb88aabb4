"""The one way in which every format writes its files: rewrite, convert, read back what is stored, publish."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from compress.contracts import DeployGraph, Exporter
from compress.system.files import atomic
from exporters._costs import Costs
from exporters._stored import Kind, Weighted, require, summary


@dataclass(frozen=True)
class Inspected:
    """What a written file says about itself.

    Attributes:
        weighted: every operation with constant weights, in the order of execution.
        about: further keys of the artifact's entry in bundle.json.
    """

    weighted: Sequence[Weighted]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FileExporter(Exporter):
    """A format that only has to say how it converts a graph and how it reads a file back.

    No file appears before its stored types were compared with its precision, whatever the format.

    Class attributes:
        stored: by precision, the types of every operation with weights.
        runtime_costs: what operations cost on the runtime that the files are for.
    """

    stored: ClassVar[Mapping[str, Kind]]
    runtime_costs: ClassVar[Costs]

    @property
    def costs(self) -> Costs:
        """Those by which the rewrites choose."""
        if self.precision in self.calibrated:  # operations that replace others would round once more
            return replace(self.runtime_costs, reductions=False)
        return self.runtime_costs

    @property
    def spared(self) -> int:
        """Weights of at most so many values may have any type."""
        return 0

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        """Convert the graph as it is, and write it to ``path``, where nothing is yet.

        Returns:
            Names of weights that need not have the precision's type.
        """
        raise NotImplementedError

    def inspect(self, path: Path) -> Inspected:
        """Read the types of a written file, from the file alone."""
        raise NotImplementedError

    def write(self, graph: DeployGraph, path: Path) -> None:
        from exporters._deploy import optimized

        with atomic(path) as unfinished:
            exempt = self.convert(optimized(graph, self), unfinished)
            if self.precision != "fp32" or _has_weights(graph):
                found = self.inspect(unfinished).weighted
                require(found, self.precision, self.stored, path, spared=self.spared, exempt=exempt)

    def details(self, path: Path) -> Mapping[str, Any]:
        found = self.inspect(path)
        return {"stored": summary(found.weighted), **found.about}


def _has_weights(graph: DeployGraph) -> bool:
    """False for networks that only pool, whose files have no types to compare."""
    return any(parameter.ndim > 1 for parameter in graph.module.parameters())
