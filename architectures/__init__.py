"""Image-retrieval networks: ``<name>.py`` holds one family, named in recipes and by ``create_model`` after its file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compress import plugins
from compress.contracts import Architecture, BadInput

if TYPE_CHECKING:
    from architectures._complexity import Complexity, complexity, count_macs, count_parameters
    from compress.contracts.networks import RetrievalNetwork

__all__ = [
    "Complexity",
    "RetrievalNetwork",
    "complexity",
    "count_macs",
    "count_parameters",
    "create_model",
    "list_models",
]

# Fetched when first used, so that listing architectures does not import PyTorch.
_HOMES = {
    "Complexity": "architectures._complexity",
    "RetrievalNetwork": "compress.contracts.networks",
    "complexity": "architectures._complexity",
    "count_macs": "architectures._complexity",
    "count_parameters": "architectures._complexity",
}


def list_models() -> list[str]:
    """The names ``create_model`` knows, sorted."""
    return plugins.names(Architecture)


def create_model(name: str, num_classes: int = 0, **options: Any) -> RetrievalNetwork:
    """Build a network in training mode, with fresh weights from PyTorch's global random generator.

    Args:
        name: one of ``list_models()``, or code of your own: ``module:Class``, ``./file.py:Class``.
        num_classes: outputs of the classifier; 0 builds a headless network.
        options: the fields of the architecture's class; lists may stand for tuples.

    Returns:
        Normalised float32 [N, 3, H, W] -> logits [N, num_classes], or embeddings [N, D] when
        headless.

    Raises:
        BadInput: unknown name or option (the message names the nearest), or a value of a wrong type or range.
    """
    from compress.options import build

    with plugins.naming_code():
        component = plugins.find(Architecture, name)
        if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 0:
            raise BadInput(f"{name}.num_classes: {num_classes!r} must be a whole number, 0 for a headless network")
        return build(component, options, name).build(num_classes)


def __getattr__(attribute: str) -> Any:
    if attribute not in _HOMES:
        raise AttributeError(f"module 'architectures' has no attribute '{attribute}'")
    return getattr(importlib.import_module(_HOMES[attribute]), attribute)
