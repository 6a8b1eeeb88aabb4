"""Choose the variant at every location, by measurement or under a limit in bytes, as a plan that can be replayed."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from compress.contracts import BadInput, DeployGraph, Exporter, Timer
from compress.system.files import artifact_bytes
from exporters._deploy import rewritten
from exporters._file_exporter import FileExporter
from exporters.rewrites._choice import Cheapest, Form
from exporters.rewrites._measure import Measurements

_TRIES = 4
"""At most this many files are written to find the largest growth of the weights that keeps a limit in bytes."""


def planned(exporter: Exporter, graph: DeployGraph, timer: Timer | None) -> Exporter:
    """Fill in what is undecided: the plan, then what else the format measures; other exporters are not changed.

    Raises:
        BadInput: a limit in bytes or time cannot be kept, or there is no timer to measure times.
        CompressError: as ``timer``.
    """
    if not exporter.undecided():
        return exporter
    if exporter.measures() and timer is None:
        option = "optimize: 'measured'" if exporter.optimize == "measured" else "max_ms:"
        raise BadInput(f"{option} needs a timer, as validators.timing.timer gives it")
    assert isinstance(exporter, FileExporter)  # as every format is
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        plain = exporter.provisional()
        if plain.undecided():  # the plan is all that it can lack
            exporter = dataclasses.replace(exporter, plan=_Planner(plain, graph, timer, Path(folder)).plan())
        return exporter.decided(graph, timer, Path(folder)) if exporter.undecided() else exporter


class _Planner:
    def __init__(self, exporter: FileExporter, graph: DeployGraph, timer: Timer | None, folder: Path) -> None:
        self.exporter, self.graph, self.folder = exporter, graph, folder
        self.costs = exporter.costs
        self.plain = dataclasses.replace(exporter, optimize="none", max_bytes=None)
        self.price = None
        if exporter.optimize == "measured":
            assert timer is not None
            self.price = Measurements(self._write_part, timer, folder, exporter.suffix)

    def plan(self) -> Mapping[str, str]:
        fastest = self._forms(None)
        limit = self.exporter.max_bytes
        if limit is None or self._bytes(fastest) <= limit:
            return _names(fastest)
        smallest = self._forms(0)
        least, most = self._bytes(smallest), self._bytes(fastest)
        if least > limit:
            raise BadInput(
                f"max_bytes: {limit:,} is less than the smallest file takes, {least:,} bytes; ask for that or more, or "
                "prune the network"
            )
        # The file's bytes are modelled as a linear function of the growth of the weights.
        grown = sum(form.added for form in fastest.values())
        growth = grown * (limit - least) // (most - least)
        for _ in range(_TRIES):
            found = self._forms(growth)
            if (excess := self._bytes(found) - limit) <= 0:
                return _names(found)
            growth = max(0, sum(form.added for form in found.values()) - grown * excess // (most - least) - 1)
        return _names(smallest)

    def _forms(self, growth: int | None) -> dict[str, Form]:
        return rewritten(self.graph, self.costs, Cheapest(growth, self.price))[1]

    def _bytes(self, forms: dict[str, Form]) -> int:
        path = self.folder / f"whole{self.exporter.suffix}"
        dataclasses.replace(self.exporter, plan=_names(forms)).write_unchecked(self.graph, path)
        return artifact_bytes(path)

    def _write_part(self, part: nn.Module, size: tuple[int, int], path: Path) -> None:
        images = None
        if self.graph.calibration is not None:  # ranges do not change times
            images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
        self.plain.write_unchecked(DeployGraph(part, size, self.graph.metadata, images), path)


def _names(forms: Mapping[str, Form]) -> dict[str, str]:
    return {place: form.name for place, form in forms.items()}
