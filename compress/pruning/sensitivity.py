"""Measure how much each layer's channels matter: prune one layer at a time, without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.nn import functional as F

from compress.contracts import ImageSet, Model
from compress.pruning.plan import Prunable, choose_layer
from compress.pruning.probing import answers


def sensitivity(
    found: Prunable, model: Model, images: ImageSet, shares: Sequence[float], count: int
) -> Iterator[dict[str, Any]]:
    """Measure accuracy and the change of the embeddings, one line per layer and share, without any training.

    Args:
        found: prepared from ``model``'s network with ``fix_embedding``, because otherwise the embeddings could not be
            compared; layers of the embedding are left out.
        images: labelled images, of which ``count`` are used.
        shares: shares of a layer's channels to remove, each above 0 and below 1; the lines give the number that was
            removed, which may be less.
    """
    if not shares:
        return
    before = answers(found.network, model, images, count)
    for name in found.layers:
        for share in shares:
            bundles = choose_layer(found, name, share)
            after = answers(found.without(bundles), model, images, count)
            if after.embeddings.shape != before.embeddings.shape:
                continue
            cosine = F.cosine_similarity(before.embeddings, after.embeddings)
            yield {
                "sensitivity": name,
                "channels": len(found.layers[name].classes),
                "removed": sum(len(bundle.classes) for bundle in bundles),
                "share": share,
                "accuracy": float(after.right.float().mean()),
                "accuracy_before": float(before.right.float().mean()),
                "mean_cosine": float(cosine.mean()),
            }
