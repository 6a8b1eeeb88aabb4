"""Quantization-aware training rounds as the files do, learns ranges that travel, and survives a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from architectures.alnet import ALNet
from compress.contracts import BadInput, Data, EmbeddingSpec, ImageSet, Model
from compress.contracts.networks import RetrievalNetwork
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.model.checkpoint import load_model, save_model
from compress.model.identity import model_sha256
from compress.model.quantized_values import stored_values, traced
from compress.model.reference import embed
from compress.stages._schedules import learning_rate
from compress.stages.prune import Prune
from compress.stages.qat import Qat, _LearnedRange, _Simulated
from compress.stages.train import Train
from tests._stages import with_options
from validators.metrics import evaluate_retrieval

SMALL = ALNet(stem_stride=2, stem_width=16, widths=(16,), strides=(2,), expansions=(1,), head_width=32)


@pytest.fixture(scope="module")
def data() -> Data:
    """300 digits to train on, 100 to validate."""
    whole = load_data(Digits(), seed=0)

    def few(images: ImageSet, count: int) -> ImageSet:
        chosen = np.arange(0, len(images), len(images) // count)[:count]
        return ImageSet(images.images[chosen], images.labels[chosen], tuple(images.ids[i] for i in chosen))

    return replace(whole, train=few(whole.train, 300), validation=few(whole.validation, 100))


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Model(SMALL, SMALL.build(len(data.classes)), data.classes, data.preprocess, EmbeddingSpec(32))
    stage = with_options(Train, epochs=3, batch_size=20, schedule="one_cycle", loss=CrossEntropy())
    path = tmp_path_factory.mktemp("trained") / "train.safetensors"
    save_model(stage.run(model, data, seed=0, scratch=path.parent), path)
    return path


def qat(**options: Any) -> Qat:
    return with_options(Qat, **{"batch_size": 20, "loss": CrossEntropy(), **options})


@pytest.fixture(scope="module")
def model(data: Data, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return qat().run(load_model(trained), data, seed=0, scratch=tmp_path_factory.mktemp("qat"))


def weights(model: Model) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def equal(first: Model, second: Model) -> bool:
    same = [torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True)]
    return all(same) and first.ranges == second.ranges


# ------------------------------------------------------------------------------------------------- the rounding


class _Tiny(RetrievalNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU6()
        self.embedding_dim, self.classifier = 4, nn.Identity()

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.norm(self.conv(x)))
        return (y * y.sigmoid()).mean((2, 3))


def steps(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Every value's nearest of 256 steps, found by trying all; one of them is 0."""
    step = (high - low) / 255
    grid = (np.arange(256) + np.round(low / step)) * step
    return np.asarray(grid[np.abs(values[..., None] - grid).argmin(-1)])


def test_it_computes_what_a_file_with_integers_computes() -> None:
    """Recomputed in NumPy with batch normalisation folded first, as exporters do it."""
    torch.manual_seed(0)
    network, x = _Tiny(), torch.randn(2, 3, 5, 5)
    nn.init.uniform_(network.norm.weight, 0.5, 2)
    nn.init.normal_(network.norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(network.norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    simulated = _Simulated(network, momentum=0.01).train()
    found = simulated.embed(x).detach().numpy()

    norm = network.norm
    assert norm.running_var is not None and norm.running_mean is not None
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
    folded = network.conv.weight.detach().numpy()[:, :, 0, 0] * gain[:, None]
    scale = np.abs(folded).max(1, keepdims=True) / 127
    bias = norm.bias.detach().numpy() - norm.running_mean.numpy() * gain
    y = np.einsum("oi,nihw->nohw", np.round(folded / scale) * scale, x.numpy()) + bias[:, None, None]
    y = steps(y.clip(0, 6), 0, float(y.clip(0, 6).max()))
    gates = np.clip(np.round(1 / (1 + np.exp(-y)) * 256), 0, 255) / 256
    product = steps(y * gates, 0, float((y * gates).max()))
    expected = product.mean((2, 3))
    expected = steps(expected, 0, float(expected.max()))
    assert found == pytest.approx(expected, abs=1e-5)
    assert found != pytest.approx(network.eval().embed(x).detach().numpy(), abs=1e-4)  # rounding shows


def test_a_range_is_the_moving_average_of_the_batches_and_gradients_pass_inside() -> None:
    layer = _LearnedRange(momentum=0.25).train()
    layer(torch.tensor([1.0, 4.0]))
    assert layer.learned() == (0.0, 4.0)
    layer(torch.tensor([-8.0, 8.0]))
    assert layer.learned() == (-2.0, 5.0)
    layer.eval()
    x = torch.tensor([-2.5, -1.0, 3.0, 5.5], requires_grad=True)
    layer(x).sum().backward()
    assert layer.learned() == (-2.0, 5.0)
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 0]


def test_every_value_that_a_file_stores_has_a_range() -> None:
    graph = traced(SMALL.build(10))
    names = [node.name for node in stored_values(graph)]
    attention = ["mean", *(f"stem_1_0_mlp_{number}" for number in (1, 2, 4, 5)), "add", "sigmoid", "mul"]
    assert names[:9] == ["stem_0_2", *attention]
    assert "blocks_0_0_1" not in names  # batch normalisation before ReLU6
    assert "blocks_0_3_1" in names  # and before attention
    assert names[-1] == "pool"


# ------------------------------------------------------------------------------------------------- the stage


def test_batch_statistics_stay_weights_move_and_the_ranges_travel(model: Model, trained: Path, tmp_path: Path) -> None:
    before = weights(load_model(trained))
    still = [name for name, value in weights(model).items() if torch.equal(value, before[name])]
    assert sorted(still) == sorted(name for name in before if "running" in name or "num_batches" in name)
    assert [line["stage"] for line in model.history] == ["train"] * 3 + ["qat"] * 3
    assert model.history[-1]["kept"] == "training"

    save_model(model, tmp_path / "qat.safetensors")
    again = load_model(tmp_path / "qat.safetensors")
    assert equal(again, model)
    assert len(model.ranges) > 15
    assert all(low <= 0 <= high for low, high in model.ranges.values())
    assert model.ranges["stem_0_2"][1] <= 6
    assert model_sha256(again) == model_sha256(model) != model_sha256(replace(model, ranges={}))
    assert load_model(trained).ranges == {}


def test_a_network_that_calibration_serves_better_stays_as_it_was(
    data: Data, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_model(trained)
    after = qat(epochs=1, lr=2.0).run(before, data, seed=0, scratch=tmp_path)
    assert equal(after, before) and not after.ranges
    line = after.history[-1]
    assert line["kept"] == "calibration" and line["calibrated_mAP"] > line["trained_mAP"]
    assert "calibration alone has mAP" in capsys.readouterr().err
    found, labels = embed(before, data.validation.images), data.validation.labels
    exact = evaluate_retrieval(found, found, labels, labels, distance="l2", metrics=("mAP",), exclude_self=True)["mAP"]
    assert line["calibrated_mAP"] == pytest.approx(exact, abs=0.02)  # rounding costs little


def test_calibrated_ranges_are_the_extremes_of_all_batches() -> None:
    layer = _LearnedRange(momentum=None).train()
    for values in ([1.0, 4.0], [-8.0, 2.0], [0.0, 3.0]):
        layer(torch.tensor(values))
    assert layer.learned() == (-8.0, 4.0)


def test_stages_that_change_the_network_drop_the_ranges(model: Model, data: Data, tmp_path: Path) -> None:
    save_model(model, tmp_path / "qat.safetensors")
    assert not Prune(ratio=0.2).run(load_model(tmp_path / "qat.safetensors"), data, seed=0, scratch=tmp_path).ranges
    again = with_options(Train, epochs=1, batch_size=100, lr=1e-6, loss=CrossEntropy())
    assert not again.run(load_model(tmp_path / "qat.safetensors"), data, seed=0, scratch=tmp_path).ranges


def test_killed_between_epochs_it_ends_with_the_same_weights_and_ranges(
    data: Data, trained: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0

    def killed_in_the_second_epoch(*arguments: Any, **keywords: Any) -> float:
        nonlocal done
        done += 1
        if done > 20:  # 15 steps an epoch
            raise KeyboardInterrupt
        return learning_rate(*arguments, **keywords)

    monkeypatch.setattr("compress.stages._fit.learning_rate", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        qat().run(load_model(trained), data, seed=0, scratch=tmp_path)
    monkeypatch.undo()
    assert equal(qat().run(load_model(trained), data, seed=0, scratch=tmp_path), model)
    # The comparison can fail.
    assert not equal(replace(model, ranges={**model.ranges, "stem_0_2": (0.0, 1.0)}), model)


def test_arithmetic_that_rounds_itself_is_refused() -> None:
    with pytest.raises(BadInput, match=r"precision: bf16-mixed rounds more .*32-true"):
        qat(precision="bf16-mixed")
