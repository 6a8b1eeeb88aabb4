"""One trial: a recipe trained, exported and measured with the validation images; test images are never used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.contracts import (
    BadInput,
    Candidates,
    CompressError,
    Data,
    Exporter,
    MeasuredStage,
    MissingTool,
    Model,
    Runtime,
)
from compress.recipe.reader import Recipe
from compress.run.check_artifact import chosen_runtimes, limits_of
from compress.run.check_context import CheckContext
from compress.run.learning_check import require_learned
from compress.run.preflight import after_stages
from compress.run.prepare import prepare
from compress.run.recorder import recording
from compress.run.steps import export_all, held_out_of, train
from compress.system import history
from compress.system.bounded_reading import read_json
from compress.system.files import artifact_bytes, artifact_sha256, write_json
from compress.tune.budget import Budget
from compress.tune.outcome import Outcome
from compress.tune.suggest import EarlyEnd
from validators import MachineFailed
from validators.gates import RULES
from validators.measure import executed, measure, static_values
from validators.timing import timer

_SLACK = 1.1
"""A file that is not trained yet is refused for its time only above the limit times this."""
_JUDGED = ("parity", "retrieval", "file", "model", "own")
"""Parts of a measurement whose gates are judged; the others need the run's golden images, or compare times."""
_REPORTED_PERCENT = 10


class _Ended(Exception):
    """The training is worse than that of cheaper trials."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """The file of trial 0, beside which the files of all others are timed."""

    file: Path
    size: tuple[int, int]
    ms: float


class Trial:
    """A recipe that is to be measured within a budget.

    Attributes:
        recipe: with the one export that is measured.
        folder: of its run, in which a killed trial continues.
    """

    def __init__(self, recipe: Recipe, folder: Path, number: int, values: Mapping[str, str], budget: Budget) -> None:
        self.recipe, self.folder = recipe, folder
        self._number, self._values, self._budget = number, values, budget

    def run(self, earlier: Sequence[Outcome], reference: Reference | None) -> Outcome:
        """Train, export and measure.

        Args:
            earlier: finished trials, with which the training is compared while it runs.
            reference: of trial 0; None for itself, which is always trained to its end.

        Raises:
            MissingTool, MachineFailed: the machine lacks something; that says nothing about the trial.
            BadInput, CompressError: trial 0, the recipe as it is, cannot be trained.
        """
        try:
            return self._run(earlier, reference)
        except (MissingTool, MachineFailed):
            raise
        except CompressError as error:
            if reference is None:
                raise
            return self._outcome("refused", reason=str(error))

    def _run(self, earlier: Sequence[Outcome], reference: Reference | None) -> Outcome:
        recipe = self.recipe
        start = prepare(recipe, self.folder, "export", fresh=False)
        assert start is not None
        data, model = _on_validation(start.data, recipe), start.model
        with start.work as work:
            ms, size = self._price(model, data) if reference is not None else (None, None)
            if reference is not None and self._too_much(ms, size):
                return self._outcome("over budget", reason="before training", ms=ms, bytes=size)
            watcher = _Watcher(self.folder / "validation.json", EarlyEnd(earlier, ms, size))
            try:
                with recording(self.folder, recipe), history.watched(watcher):
                    trained = train(work, recipe, model, data, "export")
            except _Ended:
                return self._outcome("stopped early", mean_ap=watcher.best, ms=ms, bytes=size, reports=watcher.reports)
            assert trained is not None
            model, stages = trained
            held_out, _, _ = held_out_of(data, recipe)
            context = CheckContext(work, recipe.validation, model, held_out, f"{data.fingerprint} validation")
            require_learned(context)
            ((artifact, exporter),) = export_all(work, recipe, model, data)
            (runtime, *_) = chosen_runtimes(recipe.validation, artifact.format)
            done = measure(
                runtime, artifact.path, context.reference, held_out, recipe.validation.checks, model.embedding
            )
            size = artifact_bytes(artifact.path)
            limits = {
                name: limit
                for name, limit in limits_of(context, artifact.precision, artifact.format).items()
                if RULES[name].section in _JUDGED and name != "mAP"  # a limit for the test images
            }
            static = {**context.sizes, **static_values(size, None)}
            failed = executed(runtime, done.measurement, done.failure, limits, static).failed
            ms = _timed(artifact.path, recipe, reference)
        found = done.measurement.retrieval
        known: dict[str, Any] = {
            "mean_ap": None if found is None else found.mAP,
            "ms": ms,
            "bytes": size,
            "sha256": artifact_sha256(artifact.path),
            "reports": watcher.reports,
            "recipe": recipe.measured(stages, [exporter]).to_yaml(),
        }
        if failed and reference is not None:
            gates = ", ".join(
                f"{gate.name} {gate.value:.4g}" if gate.value is not None else gate.name for gate in failed
            )
            return self._outcome("refused", reason=f"gates: {gates}", **known)
        return self._outcome("measured", **known)

    def _price(self, model: Model, data: Data) -> tuple[float | None, int | None]:
        """The time and the size of the file, which are known before anything is trained; None if they are not."""
        stages, exporter = [stage for _, stage in self.recipe.stages], self.recipe.exports[0]
        if any(isinstance(stage, MeasuredStage) and stage.measures() for stage in stages):
            return None, None
        if exporter.optimize == "measured" or exporter.max_bytes is not None:
            return None, None
        from exporters import deploy

        path = self.folder / ".compress" / f"price{exporter.suffix}"
        images = data.train.images[:2] if exporter.needs_calibration else None
        shaped = after_stages(self.recipe, model, data.division)
        exporter.write_unchecked(deploy(shaped, name="price", license="unspecified", calibration=images), path)
        return _milliseconds(exporter, [(path, self.recipe.data.size)])[0], artifact_bytes(path)

    def _too_much(self, ms: float | None, size: int | None) -> bool:
        slack = 0.0 if self._budget.ms is None or ms is None else ms / _SLACK
        return any(excess > 0 for excess in self._budget.excess(slack or None, size).values())

    def _outcome(self, state: Any, **known: Any) -> Outcome:
        return Outcome(self._number, self._values, state, **known)


def require_measurable(recipe: Recipe) -> Runtime:
    """The runtime of the recipe's first export.

    Raises:
        BadInput: nothing is exported, or no images are set apart to choose with.
        MissingTool: its files cannot be executed and timed here.
    """
    if not recipe.exports:
        raise BadInput("export: the recipe exports nothing; name a format, whose file is then measured")
    if not recipe.stages:
        raise BadInput("train: the recipe trains nothing, so that there is nothing to tune; add 'train'")
    if recipe.data.validation_share == 0:
        raise BadInput(
            "data.validation_share: 0 would choose on the test images; set a share, such as 0.2, for the photographs "
            "by which trials are compared"
        )
    file_format = recipe.exports[0].format
    timer(file_format)
    runtime = chosen_runtimes(recipe.validation, file_format)[0]
    if (reason := runtime.unavailable()) is not None:
        raise MissingTool(f"export.0: files of {file_format} cannot be executed here ({reason})")
    return runtime


def _on_validation(data: Data, recipe: Recipe) -> Data:
    """The data with the validation images in place of the test images, which are left out."""
    if data.validation is data.queries or not len(data.validation):
        raise BadInput(f"data: {recipe.data.component_name()} sets no photographs apart that could choose")
    return dataclasses.replace(data, queries=data.validation, gallery=data.validation, ground_truths={})


class _Watcher:
    """Follows a training by its best validation mAP, in a file that outlives the process."""

    def __init__(self, file: Path, ends: EarlyEnd) -> None:
        self._file, self._ends = file, ends
        stored = read_json(file) if file.is_file() else {}
        self.reports: dict[int, float] = {int(step): value for step, value in stored.items()}
        self._stage: str | None = None

    @property
    def best(self) -> float | None:
        return max(self.reports.values(), default=None)

    def __call__(self, stage: str, epoch: int, epochs: int, mean_ap: Callable[[], float]) -> None:
        """Measure at each tenth of the first training; others, such as fine-tuning, are not ended early."""
        self._stage = self._stage or stage
        step = 100 * epoch // epochs // _REPORTED_PERCENT * _REPORTED_PERCENT
        if stage != self._stage or step == 100 * (epoch - 1) // epochs // _REPORTED_PERCENT * _REPORTED_PERCENT:
            return
        earlier = [value for known, value in self.reports.items() if known < step]
        self.reports[step] = max([mean_ap(), *earlier])
        write_json(self._file, {str(known): value for known, value in self.reports.items()})
        if self._ends(step, self.reports[step]):
            raise _Ended


def _timed(file: Path, recipe: Recipe, reference: Reference | None) -> float:
    """Milliseconds of the file; beside the reference in one process, so that a busy machine slows both alike."""
    exporter, own = recipe.exports[0], (file, recipe.data.size)
    if reference is None or reference.file.suffix != file.suffix:
        return _milliseconds(exporter, [own])[0]
    beside, ms = _milliseconds(exporter, [(reference.file, reference.size), own])
    return reference.ms * ms / beside


def _milliseconds(exporter: Exporter, files: Sequence[tuple[Path, tuple[int, int]]]) -> list[float]:
    return [ms for (ms,) in timer(exporter.format)([Candidates(size, (file,)) for file, size in files])]
