"""GeM pooling against its definition in plain numpy, at the ends of its range and in half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch

from architectures import count_parameters, create_model
from architectures.layers.gem import GeneralizedMean
from compress.contracts import BadInput

TRUNK: dict[str, Any] = {"mobilenet_v1": {"width": 0.25}}

Pictures = Callable[..., torch.Tensor]


def slow(maps: np.ndarray, p: float) -> np.ndarray:
    """Eq. 3, position by position: float64 [N, C]."""
    pooled = np.zeros(maps.shape[:2])
    for image, channel in np.ndindex(*pooled.shape):
        values = [max(float(value), 0.0) ** p for value in maps[image, channel].ravel()]
        pooled[image, channel] = (sum(values) / len(values)) ** (1 / p)
    return pooled


@pytest.fixture
def maps() -> torch.Tensor:
    """[4, 6, 5, 3] with values below 0; channel 1 is dead, channel 2 small, channel 3 large."""
    values = torch.randn(4, 6, 5, 3, generator=torch.Generator().manual_seed(0))
    return values * torch.tensor([1, 0, 0.01, 100, 1, 6])[:, None, None]


@pytest.mark.parametrize("p", [1.0, 3.0, 7.3])
def test_it_is_the_definition(maps: torch.Tensor, p: float) -> None:
    pooled = GeneralizedMean(p)(maps).detach()
    assert pooled.shape == (4, 6, 1, 1)
    assert pooled.flatten(1).numpy() == pytest.approx(slow(maps.numpy(), p), rel=1e-5)
    assert pooled.flatten(1).numpy() != pytest.approx(slow(maps.numpy(), p + 0.1), rel=1e-3)


def test_its_ends_are_mean_and_maximum(maps: torch.Tensor) -> None:
    above = maps.relu()
    assert torch.allclose(GeneralizedMean(1.0)(maps), above.mean((2, 3), keepdim=True), rtol=1e-5)
    assert torch.allclose(GeneralizedMean(100.0)(above), above.amax((2, 3), keepdim=True), rtol=0.03, atol=1e-6)


def test_one_value_worked_by_hand() -> None:
    """Of 1, 2, 2 and 3 with p = 3: (1 + 8 + 8 + 27) / 4 = 11."""
    four = torch.tensor([[[[1.0, 2], [2, 3]]]])
    assert GeneralizedMean(3.0)(four).item() == pytest.approx(11 ** (1 / 3))


def test_half_precision_holds_where_the_plain_formula_overflows_and_underflows() -> None:
    maps = torch.tensor([60.0, 0.004]).reshape(1, 2, 1, 1) * torch.linspace(0.1, 1, 12).reshape(1, 1, 4, 3)
    pool, half = GeneralizedMean(6.5), maps.half()
    right = slow(half.numpy(), 6.5)
    pooled = pool.half()(half).detach().float().flatten(1).numpy()
    assert pooled == pytest.approx(right, rel=5e-3)
    plain = half.clamp(min=1e-6).pow(6.5).mean((2, 3)).pow(1 / 6.5).float().numpy()
    assert np.isinf(plain[0, 0]) and plain[0, 1] == 0


def test_gradients_are_those_of_the_definition_and_finite_where_a_channel_is_dead(maps: torch.Tensor) -> None:
    pool = GeneralizedMean(3.0).double()
    living = maps[:2, [0, 4]].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, p: _with(pool, p)(x), (living, pool.p.detach().clone().requires_grad_()))
    dead = torch.zeros(1, 2, 3, 3, requires_grad=True)
    single = GeneralizedMean(3.0)
    single(dead).sum().backward()
    assert bool(dead.grad is not None and dead.grad.isfinite().all())
    assert single.p.grad is not None and single.p.grad.tolist() == [0]


def _with(pool: GeneralizedMean, p: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.func.functional_call(pool, {"p": p}, (x,))


def test_any_feature_map_is_pooled(pictures: Pictures, calibrate: Callable[..., Any]) -> None:
    for trunk in (TRUNK, {"alnet": {"widths": (16, 24), "strides": (2, 2), "expansions": (1, 3), "head_width": 32}}):
        network = calibrate(create_model("gem", trunk=trunk))
        features = slow(network.trunk.feature_map(pictures(3)).detach().numpy(), 3.0)
        assert network.embed(pictures(3)).detach().numpy() == pytest.approx(features, rel=1e-4, abs=1e-4)


def test_sizes() -> None:
    trunk = count_parameters(create_model("mobilenet_v1", width=0.25))
    plain = cast(Any, create_model("gem", 5, trunk=TRUNK))
    assert (plain.embedding_dim, count_parameters(plain)) == (256, trunk + 1 + 256 * 5 + 5)
    short = cast(Any, create_model("gem", 5, trunk=TRUNK, dim=32))
    assert (short.embedding_dim, count_parameters(short)) == (32, trunk + 1 + 256 * 32 + 32 + 32 * 5 + 5)


@pytest.mark.parametrize("trunk", ["deep_hash", "projected"])
@pytest.mark.parametrize("name", ["gem", "fusion"])
def test_networks_without_a_feature_map_are_refused(name: str, trunk: str) -> None:
    with pytest.raises(BadInput, match=f"^trunk: {trunk} has no feature map to pool"):
        create_model(name, trunk=trunk)


def test_a_pyramid_is_the_mean_of_unit_vectors_and_a_square_layer_starts_as_the_identity(pictures: Pictures) -> None:
    torch.manual_seed(0)
    network = cast(Any, create_model("gem", trunk=TRUNK, dim=256, sizes=[64, 48, 32]).eval())
    images = pictures(3, 64, 64)
    expected = np.zeros((3, 256))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of these images: with those of fresh networks features vanish
    with torch.no_grad():
        network.train()(images)
        network.eval()
        for size in (64, 48, 32):
            smaller = torch.nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)
            pooled = network.pool(network.trunk.feature_map(smaller)).flatten(1).numpy()
            expected += pooled / np.linalg.norm(pooled, axis=1, keepdims=True) / 3
        found = network(images).numpy()
        single = cast(Any, create_model("gem", trunk=TRUNK, dim=256).eval())
        single.load_state_dict(network.state_dict())
        assert found == pytest.approx(expected, abs=1e-5)
        assert single(images).numpy() != pytest.approx(expected, abs=1e-3)
        assert single(images).numpy() == pytest.approx(single.pool(single.trunk.feature_map(images)).flatten(1).numpy())
