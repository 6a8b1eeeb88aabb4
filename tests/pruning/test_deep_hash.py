"""A network of hash codes loses channels, never bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from compress.contracts import Architecture, BadInput, EmbeddingSpec, Model, Preprocess
from compress.options import build_component
from compress.stages.prune import Prune, prune_model
from tests.pruning.conftest import SIZE
from tests.pruning.test_exact import assert_same, parameters, random_dead

OPTIONS: dict[str, Any] = {"trunk": {"mobilenet_v1": {"width": 0.5}}, "bits": 16}


@pytest.mark.parametrize("classifier", ["linear", "orthogonal"])
def test_without_dead_channels_the_codes_are_the_same(
    classifier: str, network: Callable[..., Any], settle: Callable[[nn.Module], nn.Module], pictures: torch.Tensor
) -> None:
    whole = network("deep_hash", **OPTIONS, classifier=classifier)
    masked, share = random_dead(whole, pictures, seed=7)
    settle(masked)
    small: Any = prune_model(masked, pictures, share)
    assert parameters(small) < 0.8 * parameters(masked)
    # The trunk's feature is inside the network, so its values may go; the bits may not.
    assert (small.embedding_dim, small.hash[0].in_channels < 512) == (16, True)
    with torch.no_grad():
        codes, logits = masked.embed(pictures), masked(pictures)  # type: ignore[operator]
        assert_same(small.embed(pictures), codes)
        assert_same(small(pictures), logits)
        assert bool(((codes > 0.5) != (whole.embed(pictures) > 0.5)).any())  # the dead channels had a say


def test_pruning_bits_is_refused() -> None:
    architecture: Any = build_component(Architecture, "deep_hash", OPTIONS, "model")
    spec = EmbeddingSpec(16, "binary", "hamming")
    model = Model(architecture, architecture.build(10), tuple("0123456789"), Preprocess((SIZE, SIZE)), spec)
    with pytest.raises(BadInput, match="prune_embedding: the embedding is a code"):
        Prune(ratio=0.2, prune_embedding=True).check(model)
    assert Prune(ratio=0.2).check(model).embedding.dim == 16
