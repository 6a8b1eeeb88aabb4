"""The wrapped networks are torchvision's own, weight by weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from architectures import complexity, count_parameters, create_model
from compress.system.torchvision import import_torchvision

SAME: list[tuple[str, dict[str, Any], str, int]] = [
    ("mobilenet_v2", {}, "mobilenet_v2", 3_504_872),
    ("mobilenet_v3", {"size": "small"}, "mobilenet_v3_small", 2_542_856),
    ("mobilenet_v3", {"size": "large"}, "mobilenet_v3_large", 5_483_032),
    ("shufflenet_v2", {"width": 0.5}, "shufflenet_v2_x0_5", 1_366_792),
    ("shufflenet_v2", {"width": 1.0}, "shufflenet_v2_x1_0", 2_278_604),
    ("shufflenet_v2", {"width": 1.5}, "shufflenet_v2_x1_5", 3_503_624),
    ("shufflenet_v2", {"width": 2.0}, "shufflenet_v2_x2_0", 7_393_996),
    ("efficientnet_b0", {}, "efficientnet_b0", 5_288_548),
]


@pytest.mark.parametrize(("name", "options", "original", "params"), SAME, ids=[row[2] for row in SAME])
def test_same_logits_as_torchvision(
    name: str, options: dict[str, Any], original: str, params: int, pictures: Callable[..., torch.Tensor]
) -> None:
    import_torchvision()
    from torchvision import models

    torch.manual_seed(0)
    ours = create_model(name, 1000, **options)
    assert count_parameters(ours) == params
    torch.manual_seed(0)
    theirs = getattr(models, original)()
    images = pictures(4, 64, 64)
    for training in (True, False):  # the first pass fits batch normalisation; dropout draws the same numbers in both
        outputs = []
        for network in (ours, theirs):
            torch.manual_seed(1)
            outputs.append(network.train(training)(images))
        assert torch.allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
    assert outputs[0].std(0).max() > 0


@pytest.mark.parametrize(
    ("name", "stem_stride", "published"),
    [("shufflenet_v2", 1, 47.25), ("mobilenet_v2", 2, 6.69), ("mobilenet_v1", 1, 48.24), ("alnet", 1, 6.64)],
)
def test_stem_strides_that_give_omcbirs_flops_of_svhn(name: str, stem_stride: int, published: float) -> None:
    """Table 3 of OMCBIR, 32 px, MACs counted with batch normalisation; the other stride is far from them."""
    sizes = {
        stride: complexity(create_model(name, 10, stem_stride=stride), (32, 32)).macs_with_batch_norm / 1e6
        for stride in (1, 2)
    }
    assert sizes[stem_stride] == pytest.approx(published, rel=0.015)
    assert sizes[3 - stem_stride] != pytest.approx(published, rel=0.5)
