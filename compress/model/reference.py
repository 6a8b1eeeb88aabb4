"""The PyTorch model's own embeddings, with which every artifact is compared.

They are computed independently of the exported graph (no folded batch normalisation, normalisation as in training), so
that a mistake in the exporters is not repeated in the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compress.contracts import Embedder, HeldOut, Latency, Model, Observation
from compress.system.progress import ticker
from validators.child import measure
from validators.measure import TIMED, WARM_UP

if TYPE_CHECKING:
    from compress.contracts import ImageArray

_BATCH = 250


def observe(model: Model, held_out: HeldOut) -> Observation:
    """Embed the held-out images and the probes with the PyTorch model."""
    queries = embed(model, held_out.queries.images)
    alike = held_out.leave_one_out and not held_out.multi_scale
    gallery = queries if alike else embed(model, held_out.gallery.images, held_out.scales)
    probes = embed(model, held_out.probes)
    return Observation(queries, gallery, probes, latency=_latency(model, held_out.probes))


def embed(model: Model, images: ImageArray, scales: tuple[float, ...] = (1.0,)) -> np.ndarray:
    """Embed images uint8 [N, H, W, 3] on the CPU: float32 [N, D], L2-normalised if the distance is cosine.

    With other ``scales`` than (1,), the images are resized to each scale, and the embedding is the mean of the
    L2-normalised embeddings.
    """
    run = _embedder(model, scales)
    parts = []
    with ticker("PyTorch", len(images), "images") as bar:
        for start in range(0, len(images), _BATCH):
            parts.append(run(images[start : start + _BATCH]))
            bar.advance(len(parts[-1]))
    return np.concatenate(parts)


def _embedder(model: Model, scales: tuple[float, ...] = (1.0,)) -> Embedder:
    import torch
    from torch.nn import functional as F

    network = model.network.eval()
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (model.preprocess.mean, model.preprocess.std))

    @torch.inference_mode()
    def run(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
        normalised = (batch / 255 - mean) / std
        if scales == (1.0,):
            features = network.embed(normalised)
        else:
            sizes = [[round(side * scale) for side in normalised.shape[2:]] for scale in scales]
            resized = (F.interpolate(normalised, size, mode="bilinear", antialias=True) for size in sizes)
            features = torch.stack([F.normalize(network.embed(each)) for each in resized]).mean(0)
        embeddings: np.ndarray = (F.normalize(features) if model.embedding.distance == "cosine" else features).numpy()
        return embeddings

    return run


def _latency(model: Model, probes: np.ndarray) -> Latency:
    """Time single images on one thread, as artifacts are timed."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure(_embedder(model), {"probes": probes}, WARM_UP, TIMED, threads=1)
    finally:
        torch.set_num_threads(threads)
