"""Negative controls: embeddings of broken exports, which the checks must reject; otherwise the checks prove nothing.

Each is a mistake that real exports make. They are judged on the probes, with the same checks and limits as the
artifacts of each precision, in every run: with grey images, untrained weights or loose limits a check may detect
nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import RootModel

from compress.bundle.golden import Golden
from compress.bundle.manifest import Control
from compress.contracts import Artifact, Check, EmbeddingSpec, HeldOut, ImageSet, Model, Observation
from compress.model.reference import embed
from compress.run.check_artifact import limits_of
from compress.run.check_context import CheckContext
from compress.system.files import artifact_sha256
from compress.system.progress import say
from validators.control_distance import separation
from validators.gates import RULES
from validators.measure import judge as judge_gates
from validators.results import Measurement


def broken_outputs(model: Model, probes: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Compute what broken exports give for ``probes`` (uint8 [P, H, W, 3]): name -> float32 [P, D].

    Two more are computed from the right embeddings: ``compress.bundle.golden.rearranged``.
    """
    raw = replace(model.preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return {
        "channel_swap": embed(model, np.ascontiguousarray(probes[..., ::-1])),
        "missing_normalisation": embed(replace(model, preprocess=raw), probes),
        "other_weights": embed(_permuted(model, seed), probes),
    }


def _permuted(model: Model, seed: int) -> Model:
    """The model with the values of each weight tensor shuffled: right sizes, wrong network."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=generator)].reshape(weight.shape))
    return replace(model, network=network)


def controls(context: CheckContext, artifacts: Sequence[Artifact], golden: Golden) -> tuple[Control, ...]:
    """Judge every broken model with the limits of each precision that was exported."""
    limits = {artifact.precision: limits_of(context, artifact.precision) for artifact in artifacts}

    def build(_: Path) -> _Controls:
        say("validate: controls that must fail")
        checks, embedding = context.validation.checks, context.model.embedding
        right, labels = context.reference.probes, golden.labels
        return _Controls(tuple(judge(golden.broken, right, context.held_out, labels, checks, embedding, limits)))

    key = {**context.key, "limits": limits, "golden": artifact_sha256(context.work.folder / "golden")}
    return context.work.reuse_as(_Controls, "controls", key, [], build).root


class _Controls(RootModel[tuple[Control, ...]]):
    """Every control with the limits of every precision."""

    def to_json(self) -> object:
        return self.model_dump(mode="json")


def judge(
    outputs: Mapping[str, np.ndarray],
    right: np.ndarray,
    held_out: HeldOut,
    probe_labels: np.ndarray,
    checks: Sequence[Check],
    embedding: EmbeddingSpec,
    limits: Mapping[str, Mapping[str, float]],
) -> list[Control]:
    """Compare every broken model with the limits of every precision.

    Args:
        outputs: name of a broken model -> its outputs, float32 [P, D].
        right: what the PyTorch model gives for the probes, float32 [P, D].
        probe_labels: int64 [P].
        limits: gate limits by precision.
    """
    probes = ImageSet(held_out.probes, probe_labels, tuple(f"probe {i}" for i in range(len(probe_labels))))
    alone = HeldOut(probes, probes, held_out.probes)
    expected = Observation(right, right, right)
    # If no two probes share a class there is nothing to find, and an mAP that fails for this reason proves nothing.
    searchable = len(np.unique(probe_labels)) < len(probe_labels)
    results = []
    for name, given in outputs.items():
        candidate = Observation(given, given, given)
        sections = {c.section: c.run(expected, candidate, alone, embedding) for c in checks if c.section}
        apart = separation(right, given, outputs, embedding)
        measured = Measurement.model_validate({**sections, "separation": apart})
        for precision, limit in limits.items():
            # Not bytes or latency: a wrong output does not change them.
            own = {
                gate: value
                for gate, value in limit.items()
                if RULES[gate].section in ("parity", "separation") or (gate == "mAP_drop" and searchable)
            }
            failed = tuple(gate.name for gate in judge_gates(own, measured, None, {}) if not gate.passed)
            results.append(Control(name=name, precision=precision, failed_gates=failed, caught=bool(failed)))
    return results
