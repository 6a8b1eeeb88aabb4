"""Judge whether the trained model may search the galleries of the older one that ``train.compatible_with`` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.contracts import Model
from compress.model.identity import model_sha256, space_id
from compress.run.check_artifact import Checked
from compress.run.check_context import CheckContext
from compress.run.compatibility import SOURCE, old_sample, own_samples, sample_hashes
from compress.system.progress import say
from validators.compatibility import Compared
from validators.gates import OLD_GALLERY_GAIN, evaluate_gates
from validators.held_out_part import sampled
from validators.results import Measured, Part, PartlyRebuilt, Upgrade
from validators.upgrade import OLD, gain_interval, least_gain, partly_rebuilt


class _Measured(Part):
    """What is measured of the old galleries: in part embedded again, and the interval of the least gain."""

    partly: tuple[PartlyRebuilt, ...]
    gain_low: Measured
    gain_high: Measured


def judge(
    context: CheckContext,
    checked: Sequence[Checked],
    compatibility: Mapping[str, Mapping[str, float | None]],
    old: Model | None,
) -> Upgrade | None:
    """Measure what becomes of the older model's galleries; None if there is no older model.

    Args:
        compatibility: the matrix, with the older model in it.
    """
    if old is None:
        return None
    gain, lowest = least_gain(compatibility[OLD])

    def build(_: Path) -> _Measured:
        say("validate: the old gallery")
        samples = {**own_samples(context, checked), OLD: old_sample(context, old)}
        new, theirs, embedding = samples[SOURCE], samples[OLD], context.model.embedding
        pairs = (new.queries, new.gallery), (theirs.queries, theirs.gallery)
        compared = Compared(samples, context.held_out, embedding)
        low, high = (None, None) if gain is None else gain_interval(compared, lowest)
        partly = partly_rebuilt(*pairs, context.held_out, embedding.distance)
        return _Measured(partly=partly, gain_low=low, gain_high=high)

    key = {**context.key, "samples": sample_hashes(checked), OLD: model_sha256(old)}
    measured = context.work.reuse_as(_Measured, "upgrade", key, [], build)
    limit = context.validation.gates.get(OLD_GALLERY_GAIN, 0.0)
    return Upgrade(
        space_id=space_id(old),
        dim=old.embedding.dim,
        queries=len(sampled(context.held_out).queries),
        old_mAP=compatibility[OLD][OLD],
        partly=measured.partly,
        gain=gain,
        gain_low=measured.gain_low,
        gain_high=measured.gain_high,
        lowest=lowest,
        gates=evaluate_gates({OLD_GALLERY_GAIN: limit}, {"upgrade.gain_low": measured.gain_low}),
    )
