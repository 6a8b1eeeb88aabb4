"""Judge whether the trained model may search the galleries of the older one that ``train.compatible_with`` names."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from pydantic import RootModel

from compress.contracts import Model
from compress.model.identity import model_sha256, space_id
from compress.model.reference import embed
from compress.run.check_context import CheckContext
from compress.system.progress import say
from validators.compatibility import Sample, sample, sample_of
from validators.gates import OLD_GALLERY_GAIN, evaluate_gates
from validators.held_out_part import sampled
from validators.results import PartlyRebuilt, Upgrade
from validators.upgrade import OLD, least_gain, partly_rebuilt, widened


class _Partly(RootModel[tuple[PartlyRebuilt, ...]]):
    def to_json(self) -> object:
        return self.model_dump(mode="json")


def old_sample(context: CheckContext, old: Model) -> Sample:
    """The older model's embeddings of the sampled images, as wide as the checked model's."""
    found, dim = sample_of(functools.partial(embed, old), context.held_out), context.model.embedding.dim
    return Sample(widened(found.queries, dim), widened(found.gallery, dim))


def judge(
    context: CheckContext, compatibility: Mapping[str, Mapping[str, float | None]], old: Model | None
) -> Upgrade | None:
    """Measure what becomes of the older model's galleries; None if there is no older model.

    Args:
        compatibility: the matrix, with the older model in it.
    """
    if old is None:
        return None

    def build(_: Path) -> _Partly:
        say("validate: the old gallery")
        new, theirs = sample(context.reference, context.held_out), old_sample(context, old)
        pairs = (new.queries, new.gallery), (theirs.queries, theirs.gallery)
        return _Partly(partly_rebuilt(*pairs, context.held_out, context.model.embedding.distance))

    partly = context.work.reuse_as(_Partly, "upgrade", {**context.key, OLD: model_sha256(old)}, [], build).root
    gain, lowest = least_gain(compatibility[OLD])
    limit = context.validation.gates.get(OLD_GALLERY_GAIN, 0.0)
    return Upgrade(
        space_id=space_id(old),
        dim=old.embedding.dim,
        queries=len(sampled(context.held_out).queries),
        old_mAP=compatibility[OLD][OLD],
        partly=partly,
        gain=gain,
        lowest=lowest,
        gates=evaluate_gates({OLD_GALLERY_GAIN: limit}, {"upgrade.gain": gain}),
    )
