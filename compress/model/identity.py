"""Names for what a model computes: the sha256 of the whole model, and the id of its embedding space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.contracts import Architecture, Model

if TYPE_CHECKING:
    import torch


def model_sha256(model: Model) -> str:
    """sha256 over the architecture, its options, what pruning left of it, the classes, every tensor and range."""
    learned = [dict(model.ranges)] if model.ranges else []
    return _digest(model, model.architecture, model.network.state_dict(), model.classes, *learned)


def space_id(model: Model) -> str:
    """The name of the embedding space: it changes exactly when a gallery index must be built again.

    That is with any tensor behind the embedding, the preprocessing or the embedding's kind and distance; another
    classifier on the same embedding keeps it. A student that was taught to share its teacher's space has the teacher's.
    """
    if model.space is not None:
        return model.space
    tensors = {name: t for name, t in model.network.state_dict().items() if not name.startswith("classifier.")}
    # Where weights came from, such as 'pretrained: true', is forgotten: the tensors themselves are counted.
    bare = model.architecture.bare()
    return _digest(model, bare, tensors, asdict(model.preprocess), asdict(model.embedding))[:16]


def _digest(model: Model, architecture: Architecture, tensors: Mapping[str, torch.Tensor], *more: Any) -> str:
    name, options = architecture.component_name(), architecture.options()
    digest = hashlib.sha256(json.dumps([name, options, model.pruned, *more], sort_keys=True).encode())
    for key, tensor in sorted(tensors.items()):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return digest.hexdigest()
