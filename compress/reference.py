"""The PyTorch model's own embeddings: what every artifact is compared with.

Written apart from the exported graph (no folded batch normalisation, normalisation as in training), so that a
mistake in the exporters cannot hide in the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.contracts import HeldOut, Model, Observation
from compress.progress import ticker

if TYPE_CHECKING:
    from compress.contracts import ImageArray

_BATCH = 250


def observe(model: Model, held_out: HeldOut) -> Observation:
    """Embed the held-out images and the probes with the PyTorch model."""
    queries = embed(model, held_out.queries.images)
    gallery = queries if held_out.leave_one_out else embed(model, held_out.gallery.images)
    return Observation(queries=queries, gallery=gallery, probes=embed(model, held_out.probes))


def embed(model: Model, images: ImageArray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> float32 [N, D] on the CPU, L2-normalised when the distance is cosine."""
    import torch
    from torch.nn import functional as F

    network: Any = model.network.eval()
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (model.preprocess.mean, model.preprocess.std))
    parts = []
    with torch.inference_mode(), ticker("PyTorch", len(images), "images") as bar:
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + _BATCH]))
            features = network.embed((batch.permute(0, 3, 1, 2).float() / 255 - mean) / std)
            parts.append((F.normalize(features) if model.embedding.distance == "cosine" else features).numpy())
            bar.advance(len(batch))
    return np.concatenate(parts)
