"""Choices that a recipe leaves to measurement: measured once and recorded, so that the steps are reproducible."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress import plugins
from compress.contracts import Candidates, Data, DeployGraph, Exporter, MeasuredStage, Model, Stage, Timer
from compress.model.identity import model_sha256
from compress.run.workspace import Workspace
from compress.system.progress import say


def need_timers(stages: Sequence[Stage], exports: Sequence[Exporter]) -> None:
    """Raises MissingTool if no runtime on this machine can time what the recipe wants measured."""
    for stage in stages:
        if isinstance(stage, MeasuredStage) and (file_format := stage.measures()) is not None:
            _timer(plugins.find(Exporter, file_format)())
    for exporter in exports:
        if exporter.measures():
            _timer(exporter)


def measured_stage(work: Workspace, step: str, stage: Stage, model: Model, data: Data) -> Stage:
    """Fill in the options that the stage must measure; an earlier run's measurement is reused."""
    from compress.options import build_component

    if not isinstance(stage, MeasuredStage) or (file_format := stage.measures()) is None:
        return stage
    key = {"stage": stage.options(), "model": model_sha256(model), "data": data.fingerprint}

    def measure(scratch: Path) -> dict[str, Any]:
        say(f"{step}: measures latency on the runtime of {file_format}")
        with tempfile.TemporaryDirectory(prefix="compress-") as folder:
            return stage.measured(model, data, _Latencies(file_format, Path(folder))).options()

    options = work.reuse(f"{step}-measured", key, [], measure)
    return build_component(Stage, stage.component_name(), options, step)


def measured_export(work: Workspace, exporter: Exporter, graph: DeployGraph, name: str, key: Any) -> Exporter:
    """Fill in what the exporter must measure, or find for its limit in bytes; an earlier run's choices are reused.

    Args:
        name: name of the file.
        key: everything that the file depends on.
    """
    from compress.options import tuples
    from exporters import planned

    def choose(scratch: Path) -> Any:
        say(f"export: chooses the variants of {name}")
        return planned(exporter, graph, _timer(exporter) if exporter.measures() else None).choices()

    if not exporter.undecided():
        return exporter
    found = work.reuse(f"choices-{name}", key, [], choose)
    return dataclasses.replace(exporter, **{option: tuples(value) for option, value in found.items()})


class _Latencies:
    """Measures the latency of models' fp32 files in turn, in milliseconds."""

    def __init__(self, file_format: str, folder: Path) -> None:
        self.exporter = plugins.find(Exporter, file_format)()
        self.timer, self.folder = _timer(self.exporter), folder
        self.files: list[tuple[Model, Path]] = []

    def __call__(self, models: Sequence[Model]) -> list[float]:
        size = models[0].preprocess.size
        (times,) = self.timer([Candidates(size, tuple(self._file(model) for model in models))])
        return times

    def _file(self, model: Model) -> Path:
        from exporters import deploy

        known = next((path for known, path in self.files if known is model), None)
        if known is not None:
            return known
        path = self.folder / f"{len(self.files)}{self.exporter.suffix}"
        self.exporter.write_unchecked(deploy(model, name="measured", license="unspecified"), path)
        self.files.append((model, path))
        return path


def _timer(exporter: Exporter) -> Timer:
    from validators.timing import timer

    return timer(exporter.format)
