"""Negative controls: embeddings of broken exports, which the checks must reject, or passing them proves nothing.

Each stands for a mistake that real exports make. They are judged on the probes, with the same checks and limits as
the artifacts of each precision, in every run: grey images, untrained weights or loose limits can blind a check.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import RootModel

from compress.bundle.manifest import Control
from compress.contracts import Artifact, Check, EmbeddingSpec, HeldOut, ImageSet, Model, Observation
from compress.model.reference import embed
from compress.run.check_artifact import limits_of
from compress.run.trial import Trial
from compress.system.progress import say
from validators.gates import RULES
from validators.measure import judge as judge_gates
from validators.results import Measurement


def broken_outputs(model: Model, probes: np.ndarray, seed: int) -> dict[str, np.ndarray]:
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


def controls(trial: Trial, artifacts: Sequence[Artifact], probe_labels: np.ndarray, seed: int) -> tuple[Control, ...]:
    """Whether the checks catch every broken model at the limits of each precision that was exported.

    Args:
        probe_labels: int64 [P].
    """
    limits = {artifact.precision: limits_of(trial, artifact.precision) for artifact in artifacts}

    def build(_: Path) -> _Controls:
        say("validate: controls that must fail")
        outputs = broken_outputs(trial.model, trial.held_out.probes, seed)
        return _Controls(
            tuple(
                judge(
                    outputs,
                    trial.reference.probes,
                    trial.held_out,
                    probe_labels,
                    trial.validation.checks,
                    trial.model.embedding,
                    limits,
                )
            )
        )

    return trial.work.reuse_as(_Controls, "controls", {**trial.key, "limits": limits, "seed": seed}, [], build).root


class _Controls(RootModel[tuple[Control, ...]]):
    """Every control at the limits of every precision."""

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
        outputs: by name, float32 [P, D].
        right: what the PyTorch model gives for the probes, float32 [P, D].
        probe_labels: int64 [P].
        limits: gate limits by precision.
    """
    probes = ImageSet(held_out.probes, probe_labels, tuple(f"probe {i}" for i in range(len(probe_labels))))
    alone = HeldOut(probes, probes, held_out.probes)
    expected = Observation(right, right, right)
    # Where every probe has a class of its own there is nothing to find, and an mAP that fails for that proves nothing.
    searchable = len(np.unique(probe_labels)) < len(probe_labels)
    results = []
    for name, given in outputs.items():
        candidate = Observation(given, given, given)
        measured = Measurement.model_validate(
            {check.section: check.run(expected, candidate, alone, embedding) for check in checks}
        )
        for precision, limit in limits.items():
            # Not bytes or latency, which a wrong output leaves as they are.
            own = {
                gate: value
                for gate, value in limit.items()
                if RULES[gate].section == "parity" or (gate == "mAP_drop" and searchable)
            }
            failed = tuple(gate.name for gate in judge_gates(own, measured, None, {}) if not gate.passed)
            results.append(Control(name=name, precision=precision, failed_gates=failed, caught=bool(failed)))
    return results
