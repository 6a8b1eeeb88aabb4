"""What a training logs, while it runs: into metrics.jsonl and, if the recipe says so, into loggers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compress.contracts import MissingTool
from compress.recipe.reader import Recipe
from compress.system import environment
from compress.system.files import write_text
from compress.system.history import Lines, kept

Log = Callable[[Mapping[str, float], int], None]
"""Takes numbers by name, and the number of the line."""

PACKAGES = {"csv": "lightning-fabric", "tensorboard": "tensorboard", "mlflow": "mlflow-skinny", "wandb": "wandb"}
"""Logger -> the distribution that it needs."""
_ALSO = {"mlflow-skinny": "mlflow"}


def require_loggers(names: tuple[str, ...]) -> None:
    """Raises MissingTool if the library of a logger is not installed."""
    for name in names:
        package = PACKAGES[name]
        if environment.version(package) is None and environment.version(_ALSO.get(package, package)) is None:
            raise MissingTool(
                f"log: {name} needs {package}, not installed here; install it with: "
                f'pip install "compress-retrieval[{"train" if name == "csv" else name}]"'
            )


class Recorder:
    """Writes all lines of a run to its metrics.jsonl, and each new line to every logger.

    A line's numbers are named ``STAGE/KEY``, its step is its number in metrics.jsonl. A run that is resumed logs its
    earlier lines again, in a new version of the log, so that each log is whole.
    """

    def __init__(self, folder: Path, name: str, loggers: tuple[str, ...]) -> None:
        """Start no logger yet.

        Args:
            folder: the bundle's; logs are in ``.compress/logs``.
            name: the recipe's.
        """
        self._folder = folder
        self._name = name
        self._loggers = loggers
        self._started: list[tuple[Log, Callable[[], None]]] | None = None
        self._logged = 0

    def __call__(self, lines: Lines) -> None:
        """Take all lines of the run so far."""
        write_text(self._folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        if self._started is None:
            logs = self._folder / ".compress" / "logs"
            self._started = [_STARTS[name](logs, self._name) for name in self._loggers]
        for number, line in list(enumerate(lines))[self._logged :]:
            stage = line.get("stage", "run")
            numbers = {
                f"{stage}/{key}": float(value)
                for key, value in line.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            for log, _ in self._started:
                log(numbers, number)
        self._logged = len(lines)

    def close(self) -> None:
        """End every logger that was started."""
        for _, end in self._started or ():
            end()


@contextmanager
def recording(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Within the block, what a training measures is written to metrics.jsonl and to the recipe's loggers."""
    recorder = Recorder(folder, recipe.name, recipe.log)
    try:
        with kept(recorder):
            yield
    finally:
        recorder.close()


def _csv(folder: Path, name: str) -> tuple[Log, Callable[[], None]]:
    from lightning_fabric.loggers.csv_logs import CSVLogger

    logger: Any = CSVLogger(folder, name=name, flush_logs_every_n_steps=1)
    return logger.log_metrics, lambda: logger.finalize("success")


def _tensorboard(folder: Path, name: str) -> tuple[Log, Callable[[], None]]:
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    logger: Any = TensorBoardLogger(folder, name=name)
    return logger.log_metrics, lambda: logger.finalize("success")


def _mlflow(folder: Path, name: str) -> tuple[Log, Callable[[], None]]:
    """To MLFLOW_TRACKING_URI, or to files in the run's folder."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"file:{(folder / 'mlflow').absolute()}"))
    known = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if known is None else known.experiment_id
    run = client.create_run(experiment).info.run_id

    def log(numbers: Mapping[str, float], step: int) -> None:
        for key, value in numbers.items():
            client.log_metric(run, key, value, step=step)

    return log, lambda: client.set_terminated(run)


def _wandb(folder: Path, name: str) -> tuple[Log, Callable[[], None]]:
    """To the server that the user logged in to; WANDB_MODE=offline writes files in the run's folder alone."""
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    run: Any = wandb.init(project=os.environ.get("WANDB_PROJECT", "compress"), name=name, dir=str(folder))
    return lambda numbers, step: run.log(dict(numbers), step=step), run.finish


_STARTS: Mapping[str, Callable[[Path, str], tuple[Log, Callable[[], None]]]] = {
    "csv": _csv,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
