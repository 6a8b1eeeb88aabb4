"""What a recipe may describe: every shipped network as it is, none that would fill the memory."""

from __future__ import annotations

import resource
from typing import Any

import pytest
import torch

from architectures import _limits, list_models
from architectures._limits import require_sane_size
from compress.contracts import Architecture, BadInput
from compress.options import build_named

HUGE: dict[str, Any] = {
    "one width": {"alnet": {"widths": [10**9], "strides": [1], "expansions": [1]}},
    "two widths": {"alnet": {"widths": [10**6, 10**6], "strides": [1, 1], "expansions": [1, 1]}},
    "beyond 64 bits": {"alnet": {"head_width": 2**63 - 1}},
    "many layers": {"alnet": {"widths": [8] * 3000, "strides": [1] * 3000, "expansions": [1] * 3000}},
    "attention": {"alnet": {"expansions": [10**9] * 7}},
}


def architecture(entry: Any) -> Architecture:
    return build_named(Architecture, entry, "model")


@pytest.mark.parametrize("what", HUGE)
def test_huge_networks_are_refused_before_they_are_allocated(what: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput, match=r"^model\.alnet: ") as caught:
        require_sane_size(architecture(HUGE[what]), 10, (64, 64))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes
    assert len(str(caught.value).splitlines()) == 1


def test_large_images_of_a_wide_network_are_refused() -> None:
    wide = architecture({"alnet": {"widths": [256], "strides": [1], "expansions": [16], "stem_width": 256}})
    require_sane_size(wide, 10, (128, 128))
    with pytest.raises(BadInput, match="values for one image"):
        require_sane_size(wide, 10, (2048, 2048))


def test_every_network_of_the_package_is_of_sane_size() -> None:
    names = [name for name in list_models() if name != "timm"]
    for name in names:
        state = torch.random.get_rng_state()
        require_sane_size(architecture(name), 10, (224, 224))
        assert torch.equal(state, torch.random.get_rng_state()), name
    assert len(names) >= 15


def test_none_of_them_hides_behind_an_operation_without_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "MAX_ACTIVATION", 1)
    for name in (name for name in list_models() if name != "timm"):
        with pytest.raises(BadInput, match="values for one image"):
            require_sane_size(architecture(name), 10, (224, 224))
