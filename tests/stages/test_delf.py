"""PCA against NumPy's singular values, and a trunk that stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.contracts import BadInput, Data, Model
from compress.data.load import load_data
from compress.model.start import initial_model
from compress.recipe.reader import Recipe, parse_recipe
from compress.stages.delf import _fit_pca, _local_features

TRUNK = {"mobilenet_v1": {"width": 0.25}}


def recipe(root: Path, model: dict[str, Any]) -> Recipe:
    return parse_recipe(
        {
            "name": "local",
            "data": {"dataset": "image_folder", "root": str(root), "image_size": 32},
            "model": model,
            "compress": [{"delf": {"epochs": 2, "batch_size": 8, "lr": 0.5}}],
            "train": {},
            "export": ["onnx"],
        },
        "local",
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, save_photos: Callable[..., list[Path]]) -> tuple[Recipe, Data]:
    root = tmp_path_factory.mktemp("photos")
    for label in range(3):
        save_photos(root / f"digit {label}", label, 12)
    wanted = recipe(root, {"architecture": "delf", "trunk": TRUNK, "sizes": [64, 32], "hidden": 8})
    return wanted, load_data(wanted.data, 0)


def fresh(prepared: tuple[Recipe, Data]) -> Model:
    """With batch normalisation fitted to the images; without, all features are nearly zero."""
    wanted, data = prepared
    model = initial_model(wanted, data.classes, data.preprocess)
    norms = [module for module in model.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        model.network.train()(torch.from_numpy(np.asarray(data.train.images[:12])).permute(0, 3, 1, 2) / 128 - 1)
    return model


def test_pca_against_singular_values(prepared: tuple[Recipe, Data]) -> None:
    model, data = fresh(prepared), prepared[1]
    explained = _fit_pca(_local_features(model), model.preprocess, data.train, 9)
    network: Any = model.network.eval()
    images = torch.from_numpy(np.asarray(data.train.images[np.linspace(0, len(data.train) - 1, 9).astype(int)]))
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.preprocess.mean, model.preprocess.std))
    with torch.no_grad():
        features, scores = network.descriptors((images.permute(0, 3, 1, 2) / 255 - mean) / std)
    rows, weights = features.reshape(-1, 128).double().numpy(), scores.reshape(-1).double().numpy()
    assert len(rows) == 9 * 20 and np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(180), abs=1e-4)
    centre = np.average(rows, axis=0, weights=weights)
    _, values, directions = np.linalg.svd((rows - centre) * np.sqrt(weights)[:, None], full_matrices=False)
    reduced = (rows - centre) @ directions[:40].T
    own = rows @ network.reduction.weight[..., 0, 0].double().detach().numpy().T
    own += network.reduction.bias.double().detach().numpy()
    assert np.abs(own[:, :10]) == pytest.approx(np.abs(reduced[:, :10]), abs=1e-4)
    assert explained == pytest.approx((values[:40] ** 2).sum() / (values**2).sum(), abs=1e-4)
    largest = network.reduction.weight[..., 0, 0].gather(
        1, network.reduction.weight[..., 0, 0].abs().argmax(1)[:, None]
    )
    assert bool((largest > 0).all())


def test_attention_learns_and_the_trunk_stays(prepared: tuple[Recipe, Data], tmp_path: Path) -> None:
    model, (wanted, data) = fresh(prepared), prepared
    before = {name: values.clone() for name, values in model.network.state_dict().items()}
    ((_, stage),) = [each for each in wanted.stages if each[0] != "train"]
    after = stage.run(stage.check(model), data, seed=0, scratch=tmp_path)
    changed = {name for name, values in after.network.state_dict().items() if not torch.equal(values, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"attention", "reduction", "classifier"}
    assert all(parameter.requires_grad for parameter in after.network.parameters())
    assert [line["stage"] for line in after.history] == ["delf", "delf"]
    again = stage.run(fresh(prepared), data, seed=0, scratch=tmp_path)  # as after a kill: its epochs are done
    assert all(torch.equal(again.network.state_dict()[name], t) for name, t in after.network.state_dict().items())


def test_another_network_is_refused(prepared: tuple[Recipe, Data]) -> None:
    wanted, data = prepared
    ((_, stage),) = [each for each in wanted.stages if each[0] != "train"]
    other = recipe(Path(wanted.data.root), {"architecture": "mobilenet_v1", "width": 0.25})
    with pytest.raises(BadInput, match="mobilenet_v1 gives no local features"):
        stage.check(initial_model(other, data.classes, data.preprocess))
