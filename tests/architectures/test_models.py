"""Every network of the folder, so that a new file is tested on arrival."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import nn

from architectures import RetrievalNetwork, create_model, list_models
from compress.contracts import Architecture, BadInput
from compress.options import build_component

NAMES = list_models()
CLASSES = 5

Pictures = Callable[..., torch.Tensor]


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)


@pytest.fixture(scope="module")
def network(name: str, calibrate: Callable[[nn.Module], nn.Module]) -> RetrievalNetwork:
    torch.manual_seed(1)
    return cast(RetrievalNetwork, calibrate(create_model(name, CLASSES)))


def test_all_networks_are_here() -> None:
    assert NAMES == [
        "alnet",
        "deep_hash",
        "delf",
        "efficientnet_b0",
        "efficientnet_lite",
        "efficientnet_lite0",
        "ensemble",
        "fusion",
        "gem",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3",
        "netvlad",
        "projected",
        "resnet",
        "shufflenet_v1",
        "shufflenet_v2",
        "timm",
    ]


@pytest.mark.every_change("2")
@pytest.mark.parametrize(("count", "height", "width"), [(1, 32, 32), (3, 28, 28), (2, 33, 47)])
def test_shapes(network: RetrievalNetwork, pictures: Pictures, count: int, height: int, width: int) -> None:
    images = pictures(count, height, width)
    assert network.embed(images).shape == (count, network.embedding_dim)
    assert network(images).shape == (count, CLASSES)


def test_images_are_told_apart_and_do_not_see_their_batch(network: RetrievalNetwork, pictures: Pictures) -> None:
    images = pictures(6)
    with torch.no_grad():
        together = network.embed(images)
        alone = torch.cat([network.embed(image[None]) for image in images])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4 * float(together.abs().max()))
    distances = torch.cdist(together, together) / together.norm(dim=1).mean()
    assert distances[~torch.eye(6, dtype=torch.bool)].min() > 0.01


def test_headless_is_the_same_network_without_its_classifier(
    name: str, network: RetrievalNetwork, pictures: Pictures
) -> None:
    headless = cast(RetrievalNetwork, create_model(name)).eval()
    assert headless.classifier is None
    weights = {key: tensor for key, tensor in network.state_dict().items() if not key.startswith("classifier.")}
    assert len(weights) < len(network.state_dict())
    headless.load_state_dict(weights)
    images = pictures(3)
    assert headless.embedding_dim == network.embedding_dim
    assert torch.equal(headless(images), network.embed(images))
    assert network.classifier is not None
    assert torch.equal(network.classifier(headless(images)), network(images))


@pytest.mark.every_change("alnet", "shufflenet_v2")
@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_graphs_give_the_same_output_at_another_batch_size(network: RetrievalNetwork, pictures: Pictures) -> None:
    images = pictures(3)
    expected = network(images)
    for graph in (torch.fx.symbolic_trace(network), torch.jit.trace(network, images[:1])):
        assert torch.allclose(graph(images), expected, atol=1e-5)
        assert not torch.allclose(graph(images.flip(1)), expected, atol=1e-5)


@pytest.mark.nightly
def test_an_exported_program_gives_the_same_output_at_another_batch_size(
    network: RetrievalNetwork, pictures: Pictures
) -> None:
    images = pictures(3)
    program = torch.export.export(network, (images[:2],), dynamic_shapes=({0: torch.export.Dim("n")},)).module()
    assert torch.allclose(program(images), network(images), atol=1e-5)
    assert not torch.allclose(program(images.flip(1)), network(images), atol=1e-5)


@pytest.mark.every_change("alnet", "delf", "netvlad", "deep_hash", "timm", "fusion")
def test_gradients_reach_every_parameter(name: str, pictures: Pictures) -> None:
    torch.manual_seed(2)
    network = create_model(name, CLASSES)
    assert network.training
    nn.functional.cross_entropy(network(pictures(10)), torch.arange(10) % CLASSES).backward()
    missing = [key for key, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert missing == []
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


@pytest.mark.every_change("alnet", "delf", "netvlad", "deep_hash", "timm", "fusion")
def test_the_seed_decides_the_weights(name: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(create_model(name).parameters())

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_options_survive_json(name: str, network: RetrievalNetwork) -> None:
    options = json.loads(json.dumps(build_component(Architecture, name, {}, name).options()))
    again = create_model(name, CLASSES, **options)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


def test_unknown_options_and_wrong_class_counts_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=rf"^{name}\.no_such_option: unknown key"):
        create_model(name, no_such_option=1)
    for count in (-1, 2.0, "10", True):
        with pytest.raises(BadInput, match=rf"^{name}\.num_classes: {count!r} must be a whole number"):
            create_model(name, count)  # type: ignore[arg-type]
