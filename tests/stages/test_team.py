"""Two processes train as one does over the same batches; neither plain DDP nor the pairs of a share would do that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.contracts import BadInput
from compress.model.checkpoint import load_model
from compress.pipeline import run
from compress.recipe.reader import load_recipe
from compress.stages._team import Team, _SynchronisedBatchNorm
from compress.system import processes
from tests._command import REPOSITORY
from tests.stages._two_processes import CASES, data_of, trained

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*start, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def measured(history: Sequence[Any]) -> list[float]:
    names = ("loss", "validation_accuracy", "validation_mAP")
    return [line[name] for line in history for name in names if name in line]


@pytest.mark.nightly
def test_two_processes_give_the_metrics_of_one(digit_images: np.ndarray, tmp_path: Path) -> None:
    digits = np.repeat(digit_images[:, :10, ..., None], 3, axis=-1).reshape(100, 28, 28, 3)
    np.savez(tmp_path / "images.npz", images=digits, labels=np.repeat(np.arange(10), 10))
    done = torchrun("tests.stages._two_processes", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train: epoch 1/2") == len(CASES) + 1  # the first process alone speaks
    assert done.stderr.count("train: resuming after epoch 1 of 2") == 1
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    data = data_of(tmp_path / "images.npz")
    for right, wrong in (("cross_entropy", "own statistics"), ("pairs", "own pairs")):
        alone = measured(trained(data, CASES[right][0], tmp_path / "alone" / right))
        assert len(alone) == 4
        assert measured(found[right]) == pytest.approx(alone, rel=1e-6)
        assert measured(found[wrong]) != pytest.approx(alone, rel=1e-4)
    assert found["resumed"] == found["cross_entropy"]


@pytest.mark.nightly
def test_a_run_by_two_processes_is_one_run(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label in range(4):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 12)
    recipe = tmp_path / "two.yaml"
    recipe.write_text(
        f"""
name: two
data: {{dataset: image_folder, root: "{tmp_path / "photos"}", image_size: 32}}
model: {{architecture: alnet, widths: [16, 24], strides: [2, 2], expansions: [1, 3], head_width: 32}}
train: {{epochs: 2, batch_size: 8, lr: 0.05, accelerator: cpu}}
compress:
  - prune:
      ratio: 0.3
      multiple_of: 1
      finetune: {{epochs: 1, batch_size: 8, accelerator: cpu, embedding: {{weight: 2.0}}}}
export: [torchscript: {{}}]
""",
        encoding="utf-8",
    )
    done = torchrun("compress", "run", recipe, "--out", tmp_path / "out", "--until", "1-prune")
    assert done.returncode == 0, done.stderr
    assert [line.partition("  ")[0] for line in done.stderr.splitlines() if ": epoch" in line] == [
        "train: epoch 1/2",
        "train: epoch 2/2",
        "finetune: epoch 1/1",
    ]
    assert done.stdout.count("stopped after '1-prune'") == 1
    run(load_recipe(recipe), tmp_path / "alone", until="1-prune")
    for step in ("train", "1-prune"):
        two, one = (load_model(tmp_path / place / f"checkpoints/{step}.safetensors") for place in ("out", "alone"))
        assert measured(two.history) == pytest.approx(measured(one.history), rel=0.02)
        assert two.pruned == one.pruned


def test_a_batch_that_cannot_be_shared_is_refused(
    digit_images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = np.repeat(digit_images[:, :10, ..., None], 3, axis=-1).reshape(100, 28, 28, 3)
    np.savez(tmp_path / "images.npz", images=digits, labels=np.repeat(np.arange(10), 10))
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "3", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert (processes.number(), processes.count()) == (1, 3)
    with pytest.raises(BadInput, match=r"train\.batch_size: 20 images cannot be shared evenly by 3 processes"):
        trained(data_of(tmp_path / "images.npz"), CASES["pairs"][0], tmp_path / "scratch")


def test_a_process_alone_has_the_whole_batch() -> None:
    rows = torch.arange(12.0).reshape(6, 2)
    assert torch.equal(Team().share(rows), rows) and Team().gathered(rows) is rows
    shares = [Team(number, 3).share(rows) for number in range(3)]
    assert torch.equal(torch.cat(shares), rows)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_synchronised_normalisation_is_torchs(momentum: float | None) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 3) * 3 + 2
    ours, torchs = (nn.BatchNorm2d(4, momentum=momentum) for _ in range(2))
    for layer in (ours, torchs):
        nn.init.uniform_(layer.weight, 0.5, 2, generator=torch.Generator().manual_seed(1))
    ours.__class__ = _SynchronisedBatchNorm
    ours.team = Team()  # type: ignore[assignment]
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for _ in range(2):
        outputs = [layer(each) for layer, each in zip((ours, torchs), inputs, strict=True)]
    for output in outputs:
        (output.sin() * torch.arange(5.0)[:, None]).sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.weight.grad, torchs.weight.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    assert int(ours.num_batches_tracked) == 2
