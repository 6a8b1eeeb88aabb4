"""Adversaries: embeddings of broken exports that the checks must reject, or a pass of theirs proves nothing.

Each stands for a mistake that real exports make. They are judged on the probes, with the same checks and limits as
the artifacts of each precision, in every run: grey images, untrained weights or loose limits can blind a check.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compress.contracts import Check, EmbeddingSpec, HeldOut, ImageSet, Model, Observation
from compress.model.reference import embed


@dataclass(frozen=True)
class Control:
    """Attributes: failed_gates: the gates that caught the adversary; none means the checks are blind to it."""

    name: str
    precision: str
    failed_gates: tuple[str, ...]
    caught: bool


def adversaries(model: Model, probes: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Embeddings float32 [P, D] of ``probes`` (uint8 [P, H, W, 3]) as broken exports would give them, by name."""
    right = embed(model, probes)
    raw = replace(model.preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return {
        "channel_swap": embed(model, np.ascontiguousarray(probes[..., ::-1])),
        "missing_normalisation": embed(replace(model, preprocess=raw), probes),
        "constant_output": np.repeat(right[:1], len(right), axis=0),
        "shuffled_outputs": np.roll(right, 1, axis=0),
        "other_weights": embed(_permuted(model, seed), probes),
    }


def _permuted(model: Model, seed: int) -> Model:
    """The same architecture with the values of each weight tensor in another order: right sizes, wrong network."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=generator)].reshape(weight.shape))
    return replace(model, network=network)


def judge(
    outputs: Mapping[str, np.ndarray],
    right: np.ndarray,
    held_out: HeldOut,
    probe_labels: np.ndarray,
    checks: Sequence[Check],
    embedding: EmbeddingSpec,
    limits: Mapping[str, Mapping[str, float]],
) -> list[Control]:
    """Hold every adversary against the limits of every precision.

    Args:
        outputs: by adversary, float32 [P, D].
        right: what the PyTorch model gives for the probes, float32 [P, D].
        probe_labels: int64 [P].
        limits: gate limits by precision.
    """
    from validators.measure import gate

    probes = ImageSet(held_out.probes, probe_labels, tuple(f"probe {i}" for i in range(len(probe_labels))))
    alone = HeldOut(probes, probes, held_out.probes)
    expected = Observation(right, right, right)
    # Where every probe has a class of its own there is nothing to find, and an mAP that fails for that proves nothing.
    searchable = len(np.unique(probe_labels)) < len(probe_labels)
    results = []
    for name, given in outputs.items():
        candidate = Observation(given, given, given)
        measured: dict[str, Any] = {c.section: dict(c.run(expected, candidate, alone, embedding)) for c in checks}
        # Not bytes or latency, which a wrong output leaves as they are.
        judged = {*measured["parity"], *(["mAP_drop"] if searchable else [])}
        for precision, limit in limits.items():
            own = {gate_name: limit[gate_name] for gate_name in limit if gate_name in judged}
            gates = gate(own, {**measured, "latency_ms": None, "failure": None}, {})
            failed = tuple(g.name for g in gates if not g.passed)
            results.append(Control(name, precision, failed, bool(failed)))
    return results
