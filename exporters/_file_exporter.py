"""The steps by which every format writes its files: rewrite, convert, read back the stored types, execute, publish."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from compress.contracts import CompressError, DeployGraph, Exporter, Timer
from compress.system.files import atomic
from exporters._costs import Costs
from exporters._stored import Kind, Weighted, require, summary

if TYPE_CHECKING:
    from torch import nn

_LONGEST = 300


@dataclass(frozen=True)
class Inspected:
    """What was read back from a written file.

    Attributes:
        weighted: every operation with constant weights, in the order of execution.
        about: further keys of the artifact's entry in bundle.json.
    """

    weighted: Sequence[Weighted]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FileExporter(Exporter):
    """Base class of formats; a subclass converts a graph and reads a file back.

    In every format, a file is only published after its stored types were compared with its precision, and its
    embeddings with the network's.

    Class attributes:
        stored: by precision, the types of every operation with weights.
        runtime_costs: costs of operations on the runtime that the files are for.
    """

    stored: ClassVar[Mapping[str, Kind]]
    runtime_costs: ClassVar[Costs]

    @property
    def costs(self) -> Costs:
        """The costs by which the rewrites choose."""
        if self.precision in self.calibrated:  # replacement operations would add a rounding
            return replace(self.runtime_costs, reductions=False)
        return self.runtime_costs

    @property
    def spared(self) -> int:
        """Weights of at most this many values may have any type."""
        return 0

    def decided(self, graph: DeployGraph, timer: Timer | None, folder: Path) -> Self:
        """Fill in what is undecided beside the plan, which is there.

        Args:
            timer: measures times, if ``measures``.
            folder: for files that are only measured.

        Raises:
            CompressError: the converter refuses the network, or as ``measured``.
        """
        from exporters._deploy import optimized

        prepared = optimized(graph, self)
        with self._converting(prepared, folder, f"{self.format} {self.precision}"):
            return self.measured(prepared, timer, folder)

    def measured(self, graph: DeployGraph, timer: Timer | None, folder: Path) -> Self:
        """As ``decided``, for a rewritten graph; formats with such options override it."""
        raise NotImplementedError

    def provisional(self) -> Self:
        """An exporter of files that are only tried, without the choices beside the plan."""
        return self

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        """Convert the graph unchanged, and write it to ``path``, which does not exist yet.

        Returns:
            Names of weights that are in float although the precision's are not.
        """
        raise NotImplementedError

    def inspect(self, path: Path) -> Inspected:
        """Read the types of a written file, from the file alone."""
        raise NotImplementedError

    def write(self, graph: DeployGraph, path: Path) -> None:
        from exporters._written import Reference

        reference = Reference.of(graph, path.name)  # first: converters blame NaN on other things
        with atomic(path) as unfinished:
            self._convert(graph, unfinished, path)
            reference.require_same(unfinished, path.name, self.format, self.precision)

    def write_unchecked(self, graph: DeployGraph, path: Path) -> None:
        """Write a file only to measure it; it is not executed."""
        with atomic(path) as unfinished:
            self._convert(graph, unfinished, path)

    def _convert(self, graph: DeployGraph, unfinished: Path, path: Path) -> None:
        from exporters._deploy import optimized

        prepared = optimized(graph, self)
        with self._converting(prepared, unfinished.parent, path.name):
            exempt = self.convert(prepared, unfinished)
        if self.precision != "fp32" or _has_weights(graph):
            found = self.inspect(unfinished).weighted
            require(found, self.precision, self.stored, path, spared=self.spared, exempt=exempt)

    @contextmanager
    def _converting(self, graph: DeployGraph, folder: Path, name: str) -> Iterator[None]:
        """Name the operation that the converter refuses; ``name`` is what is converted."""
        try:
            yield
        except CompressError:
            raise
        except Exception as error:  # converters raise all kinds, with tracebacks of pages
            what = self._refused(graph, folder) or "the network"
            raise CompressError(
                f"{name}: the converter to {self.format} refuses {what} ({_reason(error)}); export another format, or "
                "write the network without this operation"
            ) from error

    def _refused(self, graph: DeployGraph, folder: Path) -> str | None:
        """The operation and the layer that cannot be converted; None if they were not found."""
        from exporters._refused import refused_operation

        def converts(part: nn.Module) -> bool:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                try:
                    self.provisional().convert(replace(graph, module=part), Path(scratch) / f"part{self.suffix}")
                except Exception:
                    return False
            return True

        try:
            return refused_operation(graph.module, graph.input_size, converts)
        except Exception:  # the first error is what counts
            return None

    def details(self, path: Path) -> Mapping[str, Any]:
        found = self.inspect(path)
        return {"stored": summary(found.weighted), **found.about}


def _reason(error: Exception) -> str:
    """The first line of the error, and the operation that was being converted if the error names it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    while error.__cause__ is not None:  # the first error names the operation, those around it what was going on
        error = error.__cause__  # type: ignore[assignment]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or lines
    executing = next((line for line in lines if line.startswith("While executing")), "")
    where = f"; {executing.partition(':')[0]}" if executing else ""
    first = (lines or ["no message"])[0]
    legal = re.search(r"failed to legalize operation '[^']+'", first)  # of MLIR, between paths and source text
    first = first if legal is None else legal[0]
    return f"{type(error).__name__}: {first[:_LONGEST]}{where}"


def _has_weights(graph: DeployGraph) -> bool:
    """Whether the network has weights; files of networks that only pool have no types to compare."""
    return any(parameter.ndim > 1 for parameter in graph.module.parameters())
