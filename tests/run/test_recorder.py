"""metrics.jsonl grows while a training runs, and each logger's own library reads the same numbers from its log."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compress import load_recipe, run
from compress.contracts import BadInput, MissingTool
from compress.recipe.schema import json_schema
from compress.run.recorder import PACKAGES, Recorder, require_loggers
from compress.system import environment
from tests.conftest import Finished

LINES: list[dict[str, Any]] = [
    {"stage": "train", "epoch": 1, "loss": 2.5, "lr": 0.1},
    {"stage": "train", "epoch": 2, "loss": 1.25, "lr": 0.05},
    {"stage": "prune", "step": 1, "params": 1000, "note": "no number"},
]
EXPECTED = {"train/loss": [(0, 2.5), (1, 1.25)], "train/lr": [(0, 0.1), (1, 0.05)], "prune/params": [(2, 1000.0)]}


def logged(folder: Path, *loggers: str) -> None:
    """Log the lines one after the other, as a training does."""
    recorder = Recorder(folder, "tiny", loggers)
    for count in range(1, len(LINES) + 1):
        recorder(LINES[:count])
        assert [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] == LINES[:count]
    recorder.close()


def test_csv(tmp_path: Path) -> None:
    logged(tmp_path, "csv")
    (file,) = (tmp_path / ".compress/logs").rglob("metrics.csv")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    for key, values in EXPECTED.items():
        assert [(int(row["step"]), float(row[key])) for row in rows if row[key]] == values


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged(tmp_path, "tensorboard")
    (file,) = (tmp_path / ".compress/logs").rglob("events.*")
    found = EventAccumulator(str(file.parent))
    found.Reload()
    for key, values in EXPECTED.items():
        events = found.Scalars(key)
        assert [event.step for event in events] == [step for step, _ in values]
        assert [event.value for event in events] == pytest.approx([value for _, value in values])


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged(tmp_path, "mlflow")
    client = MlflowClient(f"file:{tmp_path / '.compress/logs/mlflow'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    for key, values in EXPECTED.items():
        history = client.get_metric_history(found.info.run_id, key)
        assert [(each.step, each.value) for each in history] == values


def records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file, which is a log of LevelDB's format behind 7 bytes."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        if (left := 32_768 - place % 32_768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


@pytest.mark.nightly
def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    logged(tmp_path, "wandb")
    (file,) = (tmp_path / ".compress/logs").rglob("*.wandb")
    found: dict[str, list[tuple[int, float]]] = {}
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            key = item.key or "/".join(item.nested_key)
            found.setdefault(key, []).append((record.history.step.num, float(json.loads(item.value_json))))
    for key, values in EXPECTED.items():
        assert found[key] == values


def test_a_run_that_goes_on_logs_whole_curves_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "tiny", ("csv",))
    recorder(LINES[:1])
    logged(tmp_path, "csv")
    files = sorted((tmp_path / ".compress/logs").rglob("metrics.csv"))
    assert [len(file.read_text(encoding="utf-8").splitlines()) for file in files] == [2, 4]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", lambda name: None)
    for name in PACKAGES:
        with pytest.raises(MissingTool, match=rf"log: {name} needs .* pip install"):
            require_loggers((name,))
    require_loggers(())


def test_a_recipe_names_them_and_trains_nothing_again(finished: Finished, tmp_path: Path) -> None:
    changes = [f"data.root={finished.recipe.parent / 'photos'}", "train.epochs=2"]
    with pytest.raises(BadInput, match=r"log: 'tensorbord' is not one of .*; did you mean 'tensorboard'\?"):
        load_recipe(finished.recipe, ["log=[tensorbord]"])
    with pytest.raises(BadInput, match="log: 'csv' must be a list"):
        load_recipe(finished.recipe, ["log=csv"])
    assert "log" not in load_recipe(finished.recipe).resolved
    assert json_schema()["properties"]["log"]["items"]["enum"] == list(PACKAGES)
    assert run(load_recipe(finished.recipe, changes), tmp_path / "out", until="train") is None
    lines = (tmp_path / "out/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    weights = tmp_path / "out/checkpoints/train.safetensors"
    before = weights.stat().st_mtime_ns
    assert run(load_recipe(finished.recipe, [*changes, "log=[csv]"]), tmp_path / "out", until="train") is None
    assert weights.stat().st_mtime_ns == before
