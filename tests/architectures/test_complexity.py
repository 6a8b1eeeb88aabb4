"""Counts worked by hand, and the published ones."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from architectures import complexity, count_macs, count_parameters, create_model


class Small(nn.Module):
    """One shared 1x1 convolution applied twice, after a grouped convolution that halves the map."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3)
        self.norm = nn.BatchNorm2d(6)
        self.shared = nn.Conv2d(6, 6, 1, bias=False)
        self.linear = nn.Linear(6, 4)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(self.shared(self.norm(self.grouped(x))))
        result: torch.Tensor = self.dropout(self.linear(x.mean((2, 3))))
        return result


def test_counts_by_hand() -> None:
    found = complexity(Small(), (8, 6))
    # Grouped: 6 outputs x (1 input x 9) at 4 x 3 positions; shared: 36 at 12 positions, twice; linear: 24.
    macs = 54 * 12 + 2 * 36 * 12 + 24
    assert found.macs == macs == 1536
    assert found.macs_with_batch_norm == macs + 4 * 6 * 12
    assert found.params == (54 + 6) + 12 + 36 + (24 + 4)
    assert found.paper_params == 54 + 36
    # Equation 5 as printed takes the size of the input map: 8 x 6, then 4 x 3, and 1 for each output channel.
    assert found.paper_flops == 2 * 48 * (54 + 6) + 2 * (2 * 12 * (36 + 6))


def test_counting_leaves_no_trace() -> None:
    network = Small()
    network.norm.eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    complexity(network, (8, 8))
    assert [network.training, network.grouped.training, network.norm.training] == [True, True, False]
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_flags_and_hooks_are_restored_after_an_error() -> None:
    network = Small()
    network.linear = nn.Linear(7, 4)
    with pytest.raises(RuntimeError):
        complexity(network, (8, 8))
    assert network.training
    assert not any(layer._forward_hooks for layer in network.modules())


# OMCBIR does not say how its table 3 (SVHN, 32 x 32) counts. Convolutions and linear layers alone miss it by 22 % for
# ALNet. With 4 operations for each normalised value, as the profiler thop counts, ShuffleNetV2 fits to the last digit
# (below) and these four within 1.5 %; ALNet would reach 6.62 M if CBAM's average pooling were counted as well.
@pytest.mark.parametrize(
    ("name", "options", "published", "alone", "with_batch_norm"),
    [
        ("alnet", {"stem_stride": 1}, 6.64e6, 5_153_272, 6_546_424),
        ("mobilenet_v1", {"stem_stride": 1}, 48.24e6, 46_354_432, 48_001_024),
        ("mobilenet_v2", {}, 6.69e6, 6_124_928, 6_670_080),
        ("shufflenet_v1", {"stem_stride": 1, "stem_pool": False}, 46.28e6, 42_590_592, 46_212_480),
    ],
)
def test_table_3_of_omcbir(
    name: str, options: dict[str, Any], published: float, alone: int, with_batch_norm: int
) -> None:
    found = complexity(create_model(name, 10, **options), (32, 32))
    assert (found.macs, found.macs_with_batch_norm) == (alone, with_batch_norm)
    assert found.macs_with_batch_norm == pytest.approx(published, rel=0.015)
    assert found.macs != pytest.approx(published, rel=0.03)


def test_table_3_of_omcbir_has_shufflenet_v2_without_its_early_downsampling() -> None:
    network = cast(Any, create_model("shufflenet_v2", 10))
    assert complexity(network, (32, 32)).macs_with_batch_norm < 0.1 * 47.25e6
    network.trunk[0][0].stride = (1, 1)
    network.trunk[1] = nn.Identity()
    assert round(complexity(network, (32, 32)).macs_with_batch_norm / 1e6, 2) == 47.25


def test_the_stem_stride_decides_whether_table_3_fits() -> None:
    found = complexity(create_model("alnet", 10, stem_stride=2), (32, 32))
    assert found.macs_with_batch_norm < 0.5 * 6.64e6


def test_short_forms() -> None:
    network = create_model("alnet", 10)
    assert count_parameters(network) == 769_692
    assert count_macs(network, (32, 32)) == 5_153_272
