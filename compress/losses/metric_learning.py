"""Any loss of pytorch-metric-learning by its name (Musgrave, Belongie, Lim 2020, arXiv:2008.09164)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compress.contracts import BadInput
from compress.contracts.networks import RetrievalNetwork
from compress.losses._metric import MetricLoss
from compress.plugins import did_you_mean

_SIZES = {"num_classes": "classes", "embedding_size": "embedding", "descriptors_dim": "embedding", "l": "embedding"}
"""Parameters of the library's losses that the data and the network give."""
_REASONS = {
    "CrossBatchMemory": "its memory cannot be stored, so that a killed training could not resume",
    "GenericPairLoss": "it is a base class",
    "MultipleLosses": "it needs other losses",
    "SelfSupervisedLoss": "it needs two views of each image",
    "VICRegLoss": "it needs two views of each image",
}
_UNLABELLED = ("ManifoldLoss",)


@dataclass(frozen=True, kw_only=True)
class MetricLearning(MetricLoss):
    """Compute a loss of the library pytorch-metric-learning, on all of a batch or on what a miner selects.

    The number of classes and the size of the embedding are filled in. Weights that a loss learns, such as proxies, are
    trained with the network's options and are not saved with it.

    Attributes:
        loss: name of the class in ``pytorch_metric_learning.losses``, such as ``ProxyAnchorLoss``.
        arguments: arguments of that class, such as ``{margin: 0.1, alpha: 32}``; the library's defaults otherwise.
        miner: name of a class in ``pytorch_metric_learning.miners``, such as ``MultiSimilarityMiner``.
        miner_arguments: arguments of that class.
    """

    loss: str = "MultiSimilarityLoss"
    arguments: Mapping[str, Any] | None = None
    miner: str | None = None
    miner_arguments: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.miner is None and self.miner_arguments is not None:
            raise BadInput("miner_arguments: there is no miner; name one as 'miner', or remove this option")

    def check(self, network: RetrievalNetwork) -> None:
        super().check(network)
        self.build(8, 4)

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        from pytorch_metric_learning import losses, miners

        sizes = {"classes": num_classes, "embedding": embedding_dim}
        kind = _class(losses, losses.BaseMetricLossFunction, "loss", self.loss)
        known = _parameters(kind)
        filled = {name: sizes[what] for name, what in _SIZES.items() if name in known}
        loss = _made(kind, self.arguments or {}, filled, "arguments")
        miner = None
        if self.miner is not None:
            kind = _class(miners, miners.BaseMiner, "miner", self.miner)
            miner = _made(kind, self.miner_arguments or {}, {}, "miner_arguments")
        return _Named(self.loss, loss, miner)


class _Named(nn.Module):
    """A loss of the library; what it remembers between batches is stored with a killed training."""

    def __init__(self, name: str, loss: nn.Module, miner: nn.Module | None) -> None:
        super().__init__()
        self.name = name
        self.loss = loss
        self.miner = miner
        for module in self.modules():
            for key, value in list(vars(module).items()):
                if isinstance(value, torch.Tensor):
                    delattr(module, key)
                    module.register_buffer(key, value)

    def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        try:
            if self.name in _UNLABELLED:
                unlabelled: torch.Tensor = self.loss(embeddings)
                return unlabelled
            picked = None if self.miner is None else self.miner(embeddings, labels)
            loss: torch.Tensor = self.loss(embeddings, labels, picked)
        except (AssertionError, ValueError) as error:  # how the library refuses a batch
            raise BadInput(f"loss: {self.name} cannot use the batch ({error}); set per_class") from error
        return loss


def _class(module: Any, base: type, key: str, name: str) -> Any:
    """The class of the library with this name.

    Raises:
        BadInput: there is none, or it cannot be used alone.
    """
    known = [
        each
        for each, made in vars(module).items()
        if inspect.isclass(made) and issubclass(made, base) and made is not base and each not in _REASONS
    ]
    if name in _REASONS:
        raise BadInput(f"{key}: {name} cannot be used here: {_REASONS[name]}")
    if name not in known:
        raise BadInput(
            f"{key}: '{name}' is not one of pytorch-metric-learning's ({', '.join(known)}){did_you_mean(name, known)}"
        )
    return getattr(module, name)


def _parameters(kind: Any) -> list[str]:
    """The names of a class's parameters, those that its base classes take as keywords included."""
    found: dict[str, None] = {}
    for each in inspect.getmro(kind):
        if "__init__" in vars(each) and each not in (nn.Module, object):
            found |= dict.fromkeys(inspect.signature(vars(each)["__init__"]).parameters)
    return [name for name in found if name not in ("self", "args", "kwargs")]


def _made(kind: Any, given: Mapping[str, Any], filled: Mapping[str, int], key: str) -> nn.Module:
    known = [name for name in _parameters(kind) if name not in filled]
    for name in given:
        if name not in known:
            raise BadInput(f"{key}.{name}: unknown key{did_you_mean(name, known)} (there are: {', '.join(known)})")
    try:
        made: nn.Module = kind(**filled, **given)
    except Exception as error:  # whatever the library raises
        raise BadInput(f"{key}: {kind.__name__} cannot be made with {dict(given)}: {error}") from error
    return made
