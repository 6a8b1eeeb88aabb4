"""Any network of timm (pytorch-image-models, Wightman 2019) as a trunk, by its name there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import fx, nn

from architectures._network import PooledNetwork, linear_classifier
from architectures._weights import read_weights
from compress.contracts import Architecture, BadInput, MissingTool, Normalisation
from compress.contracts.networks import RetrievalNetwork
from compress.plugins import did_you_mean
from compress.system.import_without import import_without
from compress.system.torchvision import import_torchvision
from compress.system.tracing import has_whole_modules, require_no_choices, trace

_PROBED = ((224, 224), (128, 128), (64, 64))
"""Sizes that are tried after the network's own."""


@dataclass(frozen=True, kw_only=True)
class Timm(Architecture):
    """Embeds images by the mean of timm's ``forward_features``, a feature map or the tokens of a transformer.

    Layers after the network's pooling are left out.

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
        make = functools.partial(timm.create_model, self.backbone, pretrained=self.pretrained, num_classes=0)
        try:
            model = make()
            # Positions that are computed from the size of each image cannot be traced; those of one size can.
            return make(dynamic_img_size=False) if getattr(model, "dynamic_img_size", False) else model
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
        timm: Any = import_without("timm", "wandb")  # to write a log that is not ours
    except ModuleNotFoundError as error:
        raise MissingTool(
            'timm: not installed; install it with: pip install "compress-retrieval[backbones]"'
        ) from error
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        raise BadInput(f"timm.backbone: timm {timm.__version__} has no network '{name}'{did_you_mean(name, known)}")
    return timm


class _FeatureMap(nn.Module):
    """[N, 3, H, W] -> feature map [N, C, h, w]; of a transformer's tokens [N, L, C]: [N, C, L, 1].

    Attributes:
        prefixes: number of tokens that stand for no position, such as a class token; they are left out.
        layout: the order of the axes that the network gives; None gives the features as they are.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.layout: Literal["NCHW", "NHWC", "NLC"] | None = None
        self.prefixes = int(getattr(model, "num_prefix_tokens", 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.forward_features(x)
        if self.layout == "NHWC":
            return features.permute(0, 3, 1, 2)
        if self.layout == "NLC":
            return features[:, self.prefixes :].transpose(1, 2).unsqueeze(3)
        return features


_LAYOUTS: Mapping[tuple[int, int], Literal["NCHW", "NHWC", "NLC"]] = {(4, 1): "NCHW", (4, 3): "NHWC", (3, 2): "NLC"}
"""Number of axes, and the axis of the channels -> layout."""


def _leave_out_unused(trunk: _FeatureMap, name: str) -> int:
    """Find the order of axes and remove the parts after the feature map; returns the number of channels of the map.

    Raises:
        BadInput: the network cannot be traced, so it could not be exported, or it gives no feature map.
    """
    features, image = _tried(trunk, name)
    channels = int(trunk.model.num_features)
    axis = next((axis for axis, size in enumerate(features.shape) if axis > 0 and size == channels), 0)
    trunk.layout = _LAYOUTS.get((features.ndim, axis))
    if trunk.layout is None:
        raise BadInput(
            f"timm.backbone: '{name}' gives features {list(features.shape)} and neither a feature map of {channels} "
            "channels nor tokens; take another network"
        )
    try:
        root, graph = trace(trunk)
        if has_whole_modules(fx.GraphModule(root, graph)):
            require_no_choices(trunk, image)
    except Exception as error:  # whatever the network's code raises
        raise BadInput(
            f"timm.backbone: '{name}' cannot be exported ({_first_line(error)}); take another network"
        ) from error
    used = [str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")]
    for part, _ in list(trunk.model.named_children()):
        if not any(f"{target}.".startswith(f"model.{part}.") for target in used):
            setattr(trunk.model, part, nn.Identity())
    return channels


def _tried(trunk: _FeatureMap, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The features of a black image, and the image, of the network's own size or the first other that it takes."""
    own = tuple(trunk.model.default_cfg["input_size"][1:])
    problem: Exception | None = None
    for size in dict.fromkeys((own, *_PROBED)):
        image = torch.zeros(1, 3, *size)
        try:
            with torch.no_grad():
                return trunk(image), image
        except Exception as error:  # a fixed size, or a mistake
            problem = problem or error
    raise BadInput(f"timm.backbone: '{name}' takes no RGB image of {own[0]}x{own[1]} ({_first_line(problem)})")


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]


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
