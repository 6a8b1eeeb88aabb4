"""Each change of the images against a slow version of it, and what it must leave alone."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from compress.contracts import Stage
from compress.options import options_of
from compress.stages._augment import Augmentation, step_generator
from compress.stages.train import Train

ALL: dict[str, Any] = {
    "horizontal_flip": True,
    "random_crop": 2,
    "min_scale": 0.5,
    "rotation": 20.0,
    "color_jitter": 0.3,
    "blur": 1.5,
    "noise": 0.2,
    "erase": 0.3,
}


@pytest.fixture
def images() -> torch.Tensor:
    """float32 [4, 3, 20, 20]: smooth, different everywhere, nowhere zero."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 3, 20, 20, generator=generator)
    return torch.from_numpy(ndimage.gaussian_filter(noise.numpy(), (0, 0, 1.5, 1.5))) * 4 - 3.5


def changed(images: torch.Tensor, step: int = 0, **options: Any) -> torch.Tensor:
    return Augmentation(**options)(images, step_generator(0, step))


def test_every_option_is_one_of_training() -> None:
    assert {option.name for option in fields(Augmentation)} == ALL.keys()
    assert ALL.keys() <= {option.name for option in options_of(Train)}
    assert issubclass(Train, Stage)


@pytest.mark.parametrize("name", [None, *ALL])
def test_the_step_alone_decides(images: torch.Tensor, name: str | None) -> None:
    options = ALL if name is None else {name: ALL[name]}
    assert Augmentation(**options)
    assert torch.equal(changed(images, **options), changed(images, **options))
    assert not torch.equal(changed(images, **options), changed(images, step=1, **options))
    assert not torch.equal(changed(images, **options), images)


def test_rotation_is_scipys(images: torch.Tensor) -> None:
    """The angle is read off the corner that the turned image shows; inside, all pixels must agree."""
    turned = changed(images, rotation=30.0).numpy()
    inside = np.hypot(*np.meshgrid(np.arange(20) - 9.5, np.arange(20) - 9.5)) < 8
    for number in range(4):
        errors = {
            angle: np.abs(ndimage.rotate(images[number].numpy(), angle, (2, 1), False, order=1) - turned[number])[
                :, inside
            ].max()
            for angle in np.arange(-30, 30.5, 0.5)
        }
        best = min(errors, key=errors.__getitem__)
        assert errors[best] < 0.03 < errors[-best if abs(best) > 2 else 30.0]


def test_colors_change_by_three_numbers_an_image(images: torch.Tensor) -> None:
    """Grey stays grey, and every pixel's distance from its grey changes by one factor."""
    found = changed(images, color_jitter=0.3)
    before, after = (values - values.mean(1, keepdim=True) for values in (images, found))
    factor = (after / before).median(-1).values.median(-1).values.median(-1).values
    assert torch.allclose(after, factor[:, None, None, None] * before, atol=1e-4)
    assert bool((factor > 0.7**2).all() and (factor < 1.3**2).all() and factor.std() > 0.01)
    grey = images.mean(1, keepdim=True).expand_as(images)
    assert changed(grey, color_jitter=0.3).std(1).max() < 1e-6


def test_blur_mixes_with_scipys_gaussian(images: torch.Tensor) -> None:
    found = changed(images, blur=1.5)
    filtered = ndimage.gaussian_filter(images.numpy(), (0, 0, 1.5, 1.5), mode="nearest", radius=(0, 0, 4, 4))
    whole = torch.from_numpy(filtered) - images
    share = ((found - images) * whole).sum((1, 2, 3)) / whole.square().sum((1, 2, 3))
    assert torch.allclose(found, images + share[:, None, None, None] * whole, atol=1e-4)
    assert bool((share >= 0).all() and (share <= 1).all() and share.std() > 0.05)


def test_noise_has_the_strength_it_says(images: torch.Tensor) -> None:
    many = images.repeat(50, 1, 1, 1)
    strength = (changed(many, noise=0.4) - many).std((1, 2, 3))
    assert float(strength.max()) < 0.44
    assert float(strength.mean()) == pytest.approx(0.2, abs=0.03)


def test_erasing_hides_one_rectangle(images: torch.Tensor) -> None:
    many = images.repeat(50, 1, 1, 1)
    hidden = (changed(many, erase=0.3) == 0).all(1)
    assert torch.equal(
        changed(many, erase=0.3)[~hidden[:, None].expand_as(many)], many[~hidden[:, None].expand_as(many)]
    )
    areas = []
    for mask in hidden:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        if len(rows):
            assert bool(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all())
        areas.append(float(mask.float().mean()))
    assert max(areas) < 0.36
    assert np.mean(areas) == pytest.approx(0.15, abs=0.03)
