"""The network of hash codes against the corrected paper, its slow definition and target codes worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch

from architectures import complexity, create_model
from architectures.layers.target_codes import least_distance, target_codes
from compress.contracts import Architecture, BadInput
from compress.options import build_component

PAPER = {"trunk": "mobilenet_v1", "batch_norm": False}
PLACES = 162
"""Classes of the paper's own data set."""

Pictures = Callable[..., torch.Tensor]


@pytest.mark.parametrize(("bits", "params"), [(16, 3_226_130), (32, 3_245_122), (64, 3_283_106)])
def test_sizes_of_the_paper(bits: int, params: int) -> None:
    """MobileNetV1 without its classifier has 3,206,976; then 1024 K + K, then K x 162 + 162 and not 1024 x 162."""
    assert params == 3_206_976 + 1024 * bits + bits + bits * PLACES + PLACES
    network = create_model("deep_hash", PLACES, bits=bits, **PAPER)
    found = complexity(network, (224, 224))
    assert found.params == params
    assert round(sum(t.numel() for t in network.state_dict().values()) * 4 / 1e6) == 13  # MB, as published
    trunk = complexity(create_model("mobilenet_v1"), (224, 224))
    assert found.macs == trunk.macs + 1024 * bits + bits * PLACES


@pytest.mark.parametrize(
    ("trunk", "features"),
    [
        ("mobilenet_v1", 1024),
        ("mobilenet_v2", 1280),
        ({"mobilenet_v3": {"size": "large"}}, 960),
        ({"alnet": {"stem_stride": 2, "head_width": 320}}, 320),
    ],
)
@pytest.mark.parametrize("bits", [8, 64])
def test_any_trunk_gives_activations_of_any_multiple_of_8(
    trunk: Any, features: int, bits: int, pictures: Pictures
) -> None:
    network = cast(Any, create_model("deep_hash", 5, trunk=trunk, bits=bits))
    activations = network.embed(pictures(4))
    assert (network.embedding_dim, activations.shape, network(pictures(4)).shape) == (bits, (4, bits), (4, 5))
    assert bool((activations >= 0).all() and (activations <= 1).all() and activations.std() > 0)
    assert network.hash[0].in_channels == features


@pytest.mark.parametrize("batch_norm", [False, True])
def test_activations_against_plain_numpy(batch_norm: bool, pictures: Pictures, calibrate: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    options = {"trunk": {"mobilenet_v1": {"width": 0.25}}, "bits": 16, "batch_norm": batch_norm}
    network = calibrate(create_model("deep_hash", 5, **options))
    with torch.no_grad():
        features, activations = network.trunk(pictures(6)).numpy(), network.embed(pictures(6)).numpy()
        logits = network(pictures(6)).numpy()
    linear = network.hash[0]
    scores = features @ linear.weight.detach().numpy()[:, :, 0, 0].T
    if batch_norm:
        norm = network.hash[1]
        mean, var, scale, shift = (
            t.detach().numpy() for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        scores = (scores - mean) / np.sqrt(var + norm.eps) * scale + shift
    else:
        scores = scores + linear.bias.detach().numpy()
    expected = 1 / (1 + np.exp(-scores))
    assert activations == pytest.approx(expected, abs=1e-5)
    weight, bias = (t.detach().numpy() for t in (network.classifier.weight, network.classifier.bias))
    assert weight.shape == (5, 16)
    assert logits == pytest.approx(expected @ weight.T + bias, abs=1e-5)
    assert activations[0] != pytest.approx(activations[1], abs=1e-3)


def test_options_survive_json_with_the_trunks_own() -> None:
    given = {"trunk": {"alnet": {"widths": [16, 24], "strides": [2, 2], "expansions": [1, 3]}}, "bits": 24}
    options = json.loads(json.dumps(build_component(Architecture, "deep_hash", given, "model").options()))
    assert options["trunk"]["alnet"]["widths"] == [16, 24]
    one, two = (create_model("deep_hash", 3, **values).state_dict() for values in (given, options))
    assert {name: t.shape for name, t in one.items()} == {name: t.shape for name, t in two.items()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bits": 20}, r"deep_hash\.bits: 20 is wrong, input should be a multiple of 8"),
        ({"bits": 0}, r"deep_hash\.bits: 0 is wrong"),
        ({"trunk": "deep_hash"}, "trunk: deep_hash has a hash layer of its own"),
        ({"trunk": "mobilenet_v4"}, "deep_hash.trunk: 'mobilenet_v4' is not one of .* did you mean 'mobilenet_v"),
        ({"trunk": {"alnet": {"gruops": 8}}}, r"deep_hash\.trunk\.alnet\.gruops: unknown key; did you mean 'groups'"),
        ({"trunk": {"alnet": {}, "mobilenet_v1": {}}}, "deep_hash.trunk: .* must be one name or one 'name: {options}'"),
        ({"trunk": {"alnet": 8}}, r"deep_hash\.trunk\.alnet: 8 must be a mapping of options"),
        ({"classifier": "cosine"}, r"deep_hash\.classifier: 'cosine' is wrong"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        create_model("deep_hash", 5, **options)
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------------------- target codes


@pytest.mark.parametrize(("bits", "classes"), [(8, 8), (16, 10), (32, 10), (64, 64)])
def test_codes_of_a_power_of_two_are_orthogonal(bits: int, classes: int) -> None:
    codes = target_codes(bits, classes)
    assert set(codes.unique().tolist()) == {-1, 1}
    assert torch.equal(codes @ codes.T, bits * torch.eye(classes))
    assert least_distance(codes) == bits // 2
    assert torch.equal(codes, target_codes(bits, classes))
    assert bool((codes.sum(0).abs() < classes).all())  # no bit is the same in every class


@pytest.mark.parametrize(("bits", "classes"), [(24, 10), (16, 20), (64, 397)])
def test_other_codes_are_balanced_and_far_apart(bits: int, classes: int) -> None:
    codes = target_codes(bits, classes)
    assert codes.shape == (classes, bits)
    assert set(codes.unique().tolist()) == {-1, 1}
    assert abs(float(codes.mean())) < 0.1
    nearest = min(int((codes[a] != codes[b]).sum()) for a in range(classes) for b in range(a))
    assert nearest == least_distance(codes) >= bits // 8


def test_more_classes_than_codes_are_refused() -> None:
    with pytest.raises(BadInput, match="bits: 8 are too few to give 300 classes a code each"):
        target_codes(8, 300)


def test_logits_are_cosines_worked_by_hand() -> None:
    """Activations (1, 1, 0.5, 0) mean (1, 1, 0, -1): with (1, -1, 1, -1) their cosine is 1 / (sqrt(3) 2)."""
    classifier = cast(Any, create_model("deep_hash", 2, bits=8, classifier="orthogonal")).classifier
    assert [name for name, _ in classifier.named_parameters()] == []
    classifier.codes = torch.tensor([[1.0, -1, 1, -1], [1, 1, 1, -1]])
    logits = classifier(torch.tensor([[1.0, 1, 0.5, 0], [0, 1, 0, 1]]))
    root = 3**0.5
    assert logits.flatten().tolist() == pytest.approx([1 / (2 * root), 3 / (2 * root), -1, -0.5])


def test_only_the_headless_network_is_without_codes() -> None:
    options = {"trunk": {"mobilenet_v1": {"width": 0.1}}, "classifier": "orthogonal"}
    whole, headless = (create_model("deep_hash", count, **options).state_dict() for count in (4, 0))
    assert whole.keys() - headless.keys() == {"classifier.codes"}
