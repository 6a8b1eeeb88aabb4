"""Any convolutional network of timm (pytorch-image-models, Wightman 2019) as a trunk, by its name there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from architectures._network import PooledNetwork, linear_classifier
from architectures._weights import read_weights
from compress.contracts import Architecture, BadInput, MissingTool, Normalisation
from compress.contracts.networks import RetrievalNetwork
from compress.plugins import did_you_mean
from compress.system.torchvision import import_torchvision


@dataclass(frozen=True, kw_only=True)
class Timm(Architecture):
    """Embeds images by the mean of timm's ``forward_features``; layers after the network's pooling are left out.

    Attributes:
        backbone: its name in ``timm.list_models()``, with or without the tag of a pretrained version.
        pretrained: use the weights that timm names for it, downloaded once to the cache of Hugging Face.
        weights: a state dict of that network to start from instead, .safetensors or .pth; its classifier is not read.
    """

    backbone: str = "mobilenetv4_conv_small_050"
    pretrained: bool = False
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.pretrained and self.weights is not None:
            raise BadInput(f"pretrained and weights={self.weights}: give one of them")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        model = self._model()
        trunk = _FeatureMap(model.eval())
        channels = _leave_out_unused(trunk, self.backbone)
        if self.weights is not None:
            _load(model, Path(self.weights))
        _separate_activations(model)
        return PooledNetwork(trunk.train(), channels, linear_classifier(channels, num_classes))

    def bare(self) -> Architecture:
        return replace(self, pretrained=False, weights=None)

    def normalisation(self) -> Normalisation | None:
        if not self.pretrained and self.weights is None:
            return None
        found = _timm(self.backbone).get_pretrained_cfg(self.backbone)
        return found.mean, found.std

    def _model(self) -> Any:
        timm = _timm(self.backbone)
        if self.pretrained and not timm.is_model_pretrained(self.backbone):
            raise BadInput(f"timm.pretrained: timm has no weights for '{self.backbone}'; set timm.weights, or train it")
        try:
            return timm.create_model(self.backbone, pretrained=self.pretrained, num_classes=0)
        except Exception as error:  # of any library that downloads
            if not self.pretrained:
                raise
            reason = str(error).strip().partition("\n")[0]
            raise MissingTool(
                f"timm.pretrained: the weights of '{self.backbone}' cannot be fetched ({reason}); connect to a network "
                "once, or set timm.weights to a file that holds them"
            ) from error


def _timm(name: str) -> Any:
    """Import timm and check that it has this network."""
    import_torchvision()
    try:
        import timm
    except ModuleNotFoundError as error:
        raise MissingTool(
            'timm: not installed; install it with: pip install "compress-retrieval[backbones]"'
        ) from error
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        raise BadInput(f"timm.backbone: timm {timm.__version__} has no network '{name}'{did_you_mean(name, known)}")
    return timm


class _FeatureMap(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.forward_features(x)
        return features


def _leave_out_unused(trunk: _FeatureMap, name: str) -> int:
    """Remove the parts after the feature map; returns the number of channels of the map.

    Raises:
        BadInput: torch.fx cannot trace the network, so it could not be exported, or it gives no feature map.
    """
    try:
        graph = fx.Tracer().trace(trunk)
        with torch.no_grad():
            features = trunk(torch.zeros(1, 3, 64, 64))
    except Exception as error:  # whatever the network's code raises
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"timm.backbone: '{name}' cannot be exported at any image size ({reason}); take another"
        ) from error
    if features.ndim != 4 or features.shape[2] != features.shape[3]:  # tokens, or channels last
        raise BadInput(
            f"timm.backbone: '{name}' gives features {list(features.shape)} and no feature map [N, C, h, w]; take a "
            "convolutional network"
        )
    used = [str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")]
    for part, _ in list(trunk.model.named_children()):
        if not any(f"{target}.".startswith(f"model.{part}.") for target in used):
            setattr(trunk.model, part, nn.Identity())
    return int(features.shape[1])


def _load(model: Any, path: Path) -> None:
    """Load the trunk's weights from a file; further tensors in the file belong to the head and are ignored."""
    stored = read_weights(path, "timm.weights")
    own = model.state_dict()
    for name, tensor in own.items():
        there = stored.get(name) if isinstance(stored, Mapping) else None
        if not isinstance(there, torch.Tensor) or there.shape != tensor.shape:
            shape = list(there.shape) if isinstance(there, torch.Tensor) else "nothing"
            raise BadInput(f"timm.weights: {path}: '{name}' holds {shape}, the network needs {list(tensor.shape)}")
    model.load_state_dict({name: stored[name] for name in own})


def _separate_activations(module: nn.Module) -> None:
    """Split timm's layers of normalisation and activation in two, so that exporters can fold and pruning can follow."""
    from timm.layers.norm_act import BatchNormAct2d

    for name, child in module.named_children():
        if isinstance(child, BatchNormAct2d):
            norm = nn.BatchNorm2d(child.num_features, child.eps, child.momentum)
            norm.load_state_dict({key: child.state_dict()[key] for key in norm.state_dict()})
            setattr(module, name, nn.Sequential(norm, child.drop, child.act))
        else:
            _separate_activations(child)
