"""NetVLAD's pooling against plain loops; where its clusters lie at first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from architectures import create_model
from architectures.netvlad import _Vlad

SMALL = {"trunk": {"mobilenet_v1": {"width": 0.1}}, "clusters": 4}

Pictures = Callable[..., torch.Tensor]


def slow_vlad(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """One feature map [C, h, w]."""
    clusters, channels = centres.shape
    vlad = np.zeros((clusters, channels))
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            descriptor = x[:, row, column] / math.sqrt(sum(value**2 for value in x[:, row, column]))
            scores = [math.exp(weight[k] @ descriptor + bias[k]) for k in range(clusters)]
            for k in range(clusters):
                vlad[k] += scores[k] / sum(scores) * (descriptor - centres[k])
    flat = np.concatenate([row / np.linalg.norm(row) for row in vlad])
    return np.asarray(flat / np.linalg.norm(flat))


def test_it_is_the_plain_loop() -> None:
    torch.manual_seed(0)
    pool = _Vlad(6, 3).double()
    torch.nn.init.normal_(pool.assign.weight, std=2.0)
    x = torch.randn(2, 6, 3, 4).double()
    found = pool(x).detach().numpy()
    weight, bias = pool.assign.weight.detach().numpy()[:, :, 0, 0], pool.assign.bias.detach().numpy()  # type: ignore[union-attr]
    centres = pool.centres.detach().numpy()
    for number in range(2):
        expected = slow_vlad(x[number].numpy(), weight, bias, centres)
        assert found[number, :, 0, 0] == pytest.approx(expected, abs=1e-9)
        assert found[number, :, 0, 0] != pytest.approx(slow_vlad(x[number].numpy(), weight, bias, -centres), abs=1e-2)


def test_the_softmax_is_that_of_the_distances() -> None:
    """Equation 3 is equation 2."""
    pool = _Vlad(5, 3)
    pool._set(torch.randn(3, 5), alpha=7.0)
    x = torch.nn.functional.normalize(torch.randn(4, 5), dim=1)
    shares = pool.assign(x[:, :, None, None]).softmax(dim=1).flatten(1)
    assert torch.allclose(shares, (-7 * torch.cdist(x, pool.centres).square()).softmax(dim=1), atol=1e-5)


def test_the_clusters_are_those_of_the_images() -> None:
    torch.manual_seed(0)
    true = torch.eye(8)[:4]
    x = (true[torch.arange(600) % 4] + 0.05 * torch.randn(600, 8)).T.reshape(1, 8, 20, 30)
    pool, again = _Vlad(8, 4), _Vlad(8, 4)
    pool.fit(x)
    again.fit(x)
    assert torch.equal(pool.centres, again.centres)
    distances = torch.cdist(true, pool.centres)
    assert distances.min(dim=1).values.max() < 0.1
    assert sorted(distances.argmin(dim=1).tolist()) == [0, 1, 2, 3]
    descriptors = torch.nn.functional.normalize(x, dim=1)
    best = pool.assign(descriptors).flatten(2)[0].topk(2, dim=0).values
    assert float((best[0] - best[1]).mean()) == pytest.approx(math.log(100), rel=1e-3)


def test_images_set_the_clusters_once(pictures: Pictures) -> None:
    """Also those of a network inside another."""
    torch.manual_seed(0)
    network: Any = create_model("deep_hash", trunk={"netvlad": SMALL}, bits=8).eval()
    pool = network.trunk.pool
    fresh = pool.centres.clone()
    network.prepare(lambda: pictures(6))
    fitted = pool.centres.clone()
    assert bool(pool.fitted) and not torch.equal(fresh, fitted)
    network.prepare(lambda: pictures(9).flip(1))
    assert torch.equal(pool.centres, fitted)
    descriptors = torch.nn.functional.normalize(network.trunk.feature_map(pictures(6)), dim=1)
    assert torch.cdist(fitted, descriptors.permute(0, 2, 3, 1).flatten(0, 2)).min(dim=1).values.max() < 0.5


def test_sizes(pictures: Pictures) -> None:
    network: Any = create_model("netvlad", 3, **SMALL)
    channels = network.channels
    assert network.embed(pictures(2)).shape == (2, network.embedding_dim) == (2, 4 * channels)
    assert network.embed(pictures(2)).norm(dim=1).detach() == pytest.approx(torch.ones(2), abs=1e-5)
    projected: Any = create_model("netvlad", 3, **SMALL, dim=16)
    assert projected.embed(pictures(2)).shape == (2, 16) and projected(pictures(2)).shape == (2, 3)
