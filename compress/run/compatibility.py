"""Measure mAP for every pair of a model that makes the gallery and a model that makes the queries."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from pydantic import RootModel

from compress.contracts import Model
from compress.model.identity import model_sha256
from compress.model.reference import embed
from compress.run.check_artifact import Checked, load_samples
from compress.run.check_context import CheckContext
from compress.system.files import artifact_sha256
from compress.system.progress import say
from validators.compatibility import Sample, compatibility, sample, sample_of
from validators.results import Measured
from validators.upgrade import OLD, widened

SOURCE = "pytorch"
"""The PyTorch model's name among the artifacts."""
TEACHER = "teacher"
"""The name of the teacher, if the PyTorch model shares a teacher's embedding space."""


class _Matrix(RootModel[dict[str, dict[str, Measured]]]):
    """mAP by the gallery's artifact, then by the query's artifact."""

    def to_json(self) -> object:
        return self.model_dump(mode="json")


def matrix(
    context: CheckContext, checked: Sequence[Checked], teacher: Model | None, old: Model | None = None
) -> dict[str, dict[str, float | None]]:
    """Measure mAP by the gallery's artifact, then by the query's artifact.

    The matrix has every artifact that was executed, once for each kind of processor, the PyTorch model, its teacher and
    the older model whose galleries it searches.

    Args:
        teacher: the model whose embedding space the checked model shares, or None.
        old: the older model, or None.
    """

    def build(_: Path) -> _Matrix:
        say("validate: every artifact against every other")
        samples = own_samples(context, checked)
        if teacher is not None:
            samples[TEACHER] = sample_of(functools.partial(embed, teacher), context.held_out)
        if old is not None:
            samples[OLD] = old_sample(context, old)
        return _Matrix.model_validate(compatibility(samples, context.held_out, context.model.embedding))

    key = {**context.key, "samples": sample_hashes(checked)}
    for name, model in ((TEACHER, teacher), (OLD, old)):
        if model is not None:
            key[name] = model_sha256(model)
    return context.work.reuse_as(_Matrix, "compatibility", key, [], build).root


def own_samples(context: CheckContext, checked: Sequence[Checked]) -> dict[str, Sample]:
    """The embeddings of the PyTorch model and of every file that was executed, by the name in the matrix."""
    return {SOURCE: sample(context.reference, context.held_out), **load_samples(checked)}


def old_sample(context: CheckContext, old: Model) -> Sample:
    """The older model's embeddings of the sampled images, as wide as the checked model's."""
    found, dim = sample_of(functools.partial(embed, old), context.held_out), context.model.embedding.dim
    return Sample(widened(found.queries, dim), widened(found.gallery, dim))


def sample_hashes(checked: Sequence[Checked]) -> dict[str, str]:
    """The sha256 of the files with embeddings, by the name in the matrix."""
    return {name: artifact_sha256(path) for each in checked for name, path in each.samples.items()}
