"""Attention as one operation (iOS 18)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from validators.mlprogram.ops._registry import operation


@operation("scaled_dot_product_attention")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(query · keyᵀ / sqrt(E) + mask) · value; a bool mask selects the keys that are used."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        ruled_out = torch.where(attn_mask, 0.0, -math.inf) if attn_mask.dtype == torch.bool else attn_mask
        scores = scores + ruled_out
    return scores.softmax(-1) @ value
