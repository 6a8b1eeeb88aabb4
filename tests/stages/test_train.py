"""Training learns, keeps the best weights, and a resumed run ends with the weights of an uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from architectures.alnet import ALNet
from compress.contracts import BadInput, Data, EmbeddingSpec, ImageSet, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.model.checkpoint import load_model, save_model
from compress.model.reference import embed
from compress.stages._augment import Augmentation, step_generator
from compress.stages._schedules import learning_rate
from compress.stages.train import Train
from tests._stages import with_options

SMALL = ALNet(stem_stride=2, widths=(16, 16, 24), strides=(2, 2, 1), expansions=(1, 3, 3), head_width=64)


@pytest.fixture(scope="module")
def data() -> Data:
    """600 digits to train on, all others as they are."""
    whole = load_data(Digits(), seed=0)
    chosen = np.arange(0, len(whole.train), 6)
    few = ImageSet(whole.train.images[chosen], whole.train.labels[chosen], tuple(whole.train.ids[i] for i in chosen))
    return replace(whole, train=few)


def fresh(data: Data) -> Model:
    torch.manual_seed(0)
    return Model(SMALL, SMALL.build(len(data.classes)), data.classes, data.preprocess, EmbeddingSpec(64))


def train(**options: Any) -> Train:
    return with_options(
        Train, **{"epochs": 3, "batch_size": 20, "schedule": "one_cycle", "loss": CrossEntropy(), **options}
    )


def weights(model: Model) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def equal(first: Model, second: Model) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))


@pytest.mark.nightly
def test_it_learns_and_keeps_the_best_weights(data: Data, tmp_path: Path) -> None:
    stage = train(epochs=24, random_crop=1)
    model = stage.run(fresh(data), data, seed=0, scratch=tmp_path)
    accuracies = [line["validation_accuracy"] for line in model.history]
    assert len(accuracies) == 24
    assert max(accuracies) > 0.5  # chance is 0.1
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (data.preprocess.mean, data.preprocess.std))
    images = torch.from_numpy(np.array(data.validation.images[:])).permute(0, 3, 1, 2)
    with torch.no_grad():
        guesses = model.network.eval()((images / 255 - mean) / std).argmax(1)
    assert float((guesses == torch.from_numpy(data.validation.labels)).float().mean()) == pytest.approx(max(accuracies))


@pytest.mark.nightly
def test_where_the_queries_classes_do_not_train_the_best_weights_rank_best(data: Data, tmp_path: Path) -> None:
    """Digits 0 to 6 train, 7 to 9 choose; the kept weights give the highest mAP that was logged."""
    trained, chosen = data.train.labels < 7, np.flatnonzero(data.validation.labels >= 7)
    parts = [
        ImageSet(part.images[rows], part.labels[rows], tuple(np.array(part.ids)[rows]))
        for part, rows in ((data.train, np.flatnonzero(trained)), (data.validation, chosen))
    ]
    held_out = replace(data, train=parts[0], validation=parts[1], open_set=True)
    model = train(epochs=4, batch_size=16).run(fresh(data), held_out, seed=0, scratch=tmp_path)
    logged = [line["validation_mAP"] for line in model.history]
    assert all("validation_accuracy" not in line for line in model.history)
    assert len(logged) == 4
    features = embed(model, np.asarray(parts[1].images[:])).astype(np.float64)
    precisions = []
    for query, label in enumerate(parts[1].labels):
        others = np.flatnonzero(np.arange(len(features)) != query)
        order = others[np.argsort(((features[others] - features[query]) ** 2).sum(axis=1), kind="stable")]
        hits = parts[1].labels[order] == label
        precisions.append(np.mean([hits[: rank + 1].mean() for rank in np.flatnonzero(hits)]))
    assert np.mean(precisions) == pytest.approx(max(logged), abs=1e-4)
    assert np.mean(precisions) > 0.4  # by chance about a third


@pytest.mark.parametrize("clip_norm", [0.01, 0.5])
def test_no_step_is_longer_than_the_clipped_gradient(data: Data, tmp_path: Path, clip_norm: float) -> None:
    one_batch = replace(data, train=ImageSet(data.train.images[:20], data.train.labels[:20], data.train.ids[:20]))
    plain = {"epochs": 1, "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    before = torch.nn.utils.parameters_to_vector(fresh(data).network.parameters()).detach()
    (tmp_path / "clipped").mkdir()
    clipped = train(**plain, clip_norm=clip_norm).run(fresh(data), one_batch, seed=0, scratch=tmp_path / "clipped")
    whole = train(**plain).run(fresh(data), one_batch, seed=0, scratch=tmp_path)
    steps = [torch.nn.utils.parameters_to_vector(m.network.parameters()).detach() - before for m in (clipped, whole)]
    assert float(steps[0].norm()) == pytest.approx(clip_norm, rel=1e-3)
    assert float(steps[1].norm()) > 2 * clip_norm
    assert float(F.cosine_similarity(steps[0], steps[1], dim=0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.nightly
def test_killed_between_epochs_it_ends_with_the_same_weights(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    options = {"random_crop": 2, "horizontal_flip": True}
    whole = train(**options).run(fresh(data), data, seed=1, scratch=tmp_path / "whole")

    done = 0

    def killed_in_the_second_epoch(*arguments: Any, **keywords: Any) -> float:
        nonlocal done
        done += 1
        if done > 45:  # 30 steps an epoch
            raise KeyboardInterrupt
        return learning_rate(*arguments, **keywords)

    monkeypatch.setattr("compress.stages._fit.learning_rate", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(**options).run(fresh(data), data, seed=1, scratch=tmp_path / "parts")
    monkeypatch.undo()
    resumed = train(**options).run(fresh(data), data, seed=1, scratch=tmp_path / "parts")
    assert equal(whole, resumed)
    assert whole.history == resumed.history
    # The comparison can fail: another seed gives other weights.
    (tmp_path / "other").mkdir()
    assert not equal(whole, train(**options).run(fresh(data), data, seed=2, scratch=tmp_path / "other"))


def test_a_learning_rate_that_explodes_is_bad_input(data: Data, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"train\.lr"):
        train(lr=1e18, schedule="constant").run(fresh(data), data, seed=0, scratch=tmp_path)


def test_a_checkpoint_gives_the_same_model_back_and_the_same_bytes(data: Data, tmp_path: Path) -> None:
    model = fresh(data)
    save_model(model, tmp_path / "a.safetensors")
    save_model(model, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again = load_model(tmp_path / "a.safetensors")
    assert (again.architecture, again.classes, again.preprocess) == (
        model.architecture,
        model.classes,
        model.preprocess,
    )
    assert equal(model, again)


def test_a_damaged_checkpoint_is_bad_input(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(fresh(data), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        load_model(path)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("step", [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
        ("constant", [1] * 9),
        ("cosine", [0.5 * (1 + np.cos(np.pi * i / 9)) for i in range(9)]),
    ],
)
def test_schedules(schedule: Any, expected: list[float]) -> None:
    assert [learning_rate(schedule, 1.0, step, 9) for step in range(9)] == pytest.approx(expected)


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=1001, cycle_momentum=False, final_div_factor=400
    )
    for step in range(1000):
        # torch's warm-up ends one step before 30 %.
        assert learning_rate("one_cycle", 0.1, step, 1000) == pytest.approx(scheduler.get_last_lr()[0], abs=5e-4)
        optimizer.step()
        scheduler.step()


def test_augmentation_moves_pixels_as_it_says() -> None:
    image = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)
    assert not Augmentation(False, 0, 1.0)
    flips = [Augmentation(True, 0, 1.0)(image, step_generator(0, step)) for step in range(8)]
    options = (image, image.flip(3))
    assert all(any(torch.allclose(one[0], o[0], atol=1e-3) for o in options) for one in flips)
    assert len({one[0].sum(0)[0, 0].round().item() for one in flips}) == 2
    shifted = Augmentation(False, 1, 1.0)(image, step_generator(0, 0))
    neighbours = [F.pad(image, (1, 1, 1, 1))[0, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    assert any(torch.allclose(shifted[0], n, atol=1e-3) for n in neighbours)
    same = Augmentation(True, 2, 0.5)
    assert torch.equal(same(image, step_generator(3, 5)), same(image, step_generator(3, 5)))
    assert not torch.equal(same(image, step_generator(3, 5)), same(image, step_generator(3, 6)))
