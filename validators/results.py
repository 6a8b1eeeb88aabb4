"""Types of an artifact's measurements: one per section of its entry in bundle.json.

Every type is strict and frozen: a renamed or missing value raises an error when an object is made, and a changed file
when it is read. A number that is not finite is not a measurement and becomes None, which no gate accepts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from compress.contracts import Evidence, Processor


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Measured = Annotated[float | None, BeforeValidator(_finite)]
"""A measured number; None if nothing could be measured."""


class Part(BaseModel):
    """A part of bundle.json: unknown keys, missing keys and values of other types are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    left_out: ClassVar[frozenset[str]] = frozenset()
    """Keys that are left out of bundle.json if their value is None."""

    @model_serializer(mode="wrap")
    def _without_absent_keys(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        return {key: value for key, value in values.items() if value is not None or key not in self.left_out}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the keys of bundle.json."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The reverse of ``to_json``. Raises pydantic's ValidationError."""
        return cls.model_validate_json(json.dumps(values))

    @classmethod
    def unmeasured(cls, problem: str | None) -> Self:
        """Make an object with None for every required value, because of ``problem``."""
        nothing = {name: None for name, field in cls.model_fields.items() if field.is_required()}
        return cls.model_validate({**nothing, "problem": problem})


class Margins(Part):
    """How far the bits of codes are from flipping.

    The activations are the PyTorch model's, so that an artifact that gives bare codes has the same intervals.

    Attributes:
        edges: edges of a histogram of activations' distances from the threshold.
        bits: number of bits in each interval, its upper edge included.
        flips: number of those bits that flipped.
    """

    edges: tuple[float, ...]
    bits: tuple[int, ...]
    flips: tuple[int, ...]


class Parity(Part):
    """The artifact's embeddings compared with the PyTorch model's, over the queries and the probes.

    The bits' threshold, 0.5, is subtracted from hash activations, and local features are weighted with their scores.

    Attributes:
        min_cosine: lowest cosine between the two embeddings of an image.
        min_centered_cosine: the same after subtracting the PyTorch model's mean embedding from both. Features after a
            ReLU share a large common part, so even a constant output can have a high plain cosine.
        mean_cosine: mean over the images.
        p01_cosine: first percentile over the images.
        max_abs_error: largest error of a single embedding value.
        max_rel_error: max_abs_error over the largest absolute value of the PyTorch model.
        mean_abs_error: mean error of a single embedding value.
        top10_overlap: mean share of a query's 10 nearest gallery images that both models agree on, each searching its
            own gallery.
        bit_flip_rate: share of the bits that differ; None if the embedding is not binary.
        margins: how far the bits are from flipping; None if the embedding is not binary.
        worst_image: id of the query, or ``probe N``, with the lowest cosine.
        worst_image_file: its picture in the bundle.
        problem: why the output is not an embedding (wrong shape, NaN or infinity, a zero vector); every other value is
            then None, which no gate passes.
    """

    left_out = frozenset({"problem"})

    min_cosine: Measured
    min_centered_cosine: Measured
    mean_cosine: Measured
    p01_cosine: Measured
    max_abs_error: Measured
    max_rel_error: Measured
    mean_abs_error: Measured
    top10_overlap: Measured
    bit_flip_rate: Measured = None
    margins: Margins | None = None
    worst_image: str | None = None
    worst_image_file: str | None = None
    problem: str | None = None


class Ranking(Part):
    """The order of the gallery compared with the PyTorch model's, each model searching its own.

    Attributes:
        kendall_tau: mean over up to 100 queries of Kendall's tau-a between the two orders of up to 400 gallery images;
            1 is the same order, 0 an unrelated one.
        mean_ap_change: mean absolute change of a query's average precision.
        largest_ap_drop: largest drop of a single query's average precision.
        largest_ap_drop_query: id of that query.
        mAP_drop_low, mAP_drop_high: 95 % confidence interval of the mAP drop, by a paired bootstrap over the queries
            (Sakai, SIGIR 2006): the range to expect with other queries of the same kind.
        problem: why the output is not an embedding; every other value is then None.
    """

    left_out = frozenset({"problem"})

    kendall_tau: Measured
    mean_ap_change: Measured
    largest_ap_drop: Measured
    largest_ap_drop_query: str | None
    mAP_drop_low: Measured  # noqa: N815 - the key in bundle.json
    mAP_drop_high: Measured  # noqa: N815
    problem: str | None = None


class Threshold(Part):
    """The distance up to which two images count as a match, at one false-accept rate.

    Attributes:
        false_accept_rate: largest share of the pairs of different things that are accepted.
        distance: the threshold: a distance up to it is a match; None if there were too few pairs for this rate.
        source_distance: the PyTorch model's threshold on the same pairs.
        false_accepts: number of pairs of different things that were accepted.
        rate_low, rate_high: 95 % confidence interval of the false-accept rate.
        true_accept_rate: share of the pairs of the same thing that are accepted.
        found_rate: share of the queries whose nearest gallery image shows the same thing and is accepted.
        false_match_rate: share of the queries that get a match if no gallery image shows the same thing. It grows with
            the size of the gallery.
    """

    left_out = frozenset(
        {"false_accepts", "rate_low", "rate_high", "true_accept_rate", "found_rate", "false_match_rate"}
    )

    false_accept_rate: float
    distance: Measured
    source_distance: Measured
    false_accepts: int | None = None
    rate_low: Measured = None
    rate_high: Measured = None
    true_accept_rate: Measured = None
    found_rate: Measured = None
    false_match_rate: Measured = None

    @property
    def name(self) -> str:
        """The rate in percent, such as ``0.1%``."""
        return f"{100 * self.false_accept_rate:g}%"


class Thresholds(Part):
    """Match or no match: distance thresholds of this artifact, measured on pairs of held-out images.

    Attributes:
        pairs: number of pairs of different things.
        matching_pairs: number of pairs of the same thing.
        at: one threshold per false-accept rate.
        shift: largest difference from a threshold of the PyTorch model, as a share of the median distance of different
            things; None if no rate has a threshold.
        problem: why the output is not an embedding; every other value is then None.
    """

    left_out = frozenset({"problem"})

    pairs: int | None
    matching_pairs: int | None
    at: tuple[Threshold, ...] | None
    shift: Measured
    problem: str | None = None


class PhotoWay(Part):
    """One way from a photograph to pixels other than ``preprocess``.

    Attributes:
        way: a resize kernel, a decoder, or a JPEG quality at which the photograph was compressed once more.
        bytes_changed: share of the artifact's input bytes that differ.
        mean_levels: mean difference of an input byte, 0 to 255.
        mAP: of these queries, in the gallery that was prepared as ``preprocess`` says.
        mAP_drop: the mAP of the same queries prepared as ``preprocess`` says, minus this one.
    """

    way: str
    bytes_changed: float
    mean_levels: float
    mAP: Measured  # noqa: N815
    mAP_drop: Measured  # noqa: N815


class PhotoWays(Part):
    """What the artifact retrieves if an app prepares photographs in another way than ``preprocess`` says.

    Attributes:
        queries: number of held-out photographs that were prepared in other ways.
        mAP: of these queries, prepared as ``preprocess`` says.
        mAP_drop: largest drop of any way.
        worst: that way.
        ways: every way that was tried.
    """

    queries: int
    mAP: Measured  # noqa: N815
    mAP_drop: Measured  # noqa: N815
    worst: str
    ways: tuple[PhotoWay, ...]


class Scores(Part):
    """Retrieval metrics of one model; every metric except mAP has its own name as key, such as ``P@1``.

    Attributes:
        mAP: mean average precision, 0 to 1.
        queries: number of queries.
        empty_queries: number of queries without a relevant image; they are left out of every mean.
        problem: why the output cannot be ranked; every metric is then None.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int | Measured] = Field(init=False)

    left_out = frozenset({"problem", "queries", "empty_queries"})

    mAP: Measured  # noqa: N815
    queries: int | None = None
    empty_queries: int | None = None
    problem: str | None = None

    @model_validator(mode="after")
    def _refuse_unknown_keys(self) -> Self:
        for name in self.__pydantic_extra__ or {}:
            if not any(mark in name for mark in "@/:") and name != "mPC":
                raise ValueError(f"'{name}' is neither a key nor a metric")
        return self

    def metrics(self) -> Iterator[tuple[str, float]]:
        """Yield every metric that was measured, mAP first; values are in [0, 1]."""
        for name, value in (("mAP", self.mAP), *(self.__pydantic_extra__ or {}).items()):
            if isinstance(value, float):
                yield name, value


class Retrieval(Scores):
    """The metrics of one artifact.

    Attributes:
        mAP_drop: the PyTorch model's mAP minus the artifact's.
    """

    mAP_drop: Measured  # noqa: N815


class SourceScores(Scores):
    """The metrics of the PyTorch model.

    Attributes:
        rules: how each metric is counted, in words.
    """

    rules: dict[str, str] = {}


class Neighbours(Part):
    """The golden images as queries in the bundle's gallery.

    Attributes:
        golden_neighbours: share of their nearest neighbours that the artifact's embeddings find.
    """

    golden_neighbours: Measured


class Separation(Part):
    """Whether an artifact is nearer to the PyTorch model than to any broken export.

    Attributes:
        control_ratio: its distance from the PyTorch model divided by that from the nearest broken model, over all
            golden images; below 1 for a faithful file, however coarsely it rounds.
        nearest_control: the name of that broken model.
    """

    control_ratio: Measured
    nearest_control: str | None


class LatencyResult(Part):
    """The time for one image.

    Attributes:
        median, p95: median and 95th percentile in milliseconds.
        threads: number of threads of the runtime.
        ratio: the median over the PyTorch model's on one thread of the same machine; None if that was not timed.
    """

    median: float
    p95: float
    threads: int
    ratio: Measured = None


class AccelerationResult(Part):
    """Which operations the accelerator, such as a GPU, executed.

    Attributes:
        share: their share of all operations; 1 is all of them.
        others: one line for each kind of operation that the CPU executed instead, with the reason.
    """

    share: Measured
    others: tuple[str, ...] = ()


class OwnChecks(Part):
    """The results of checks that other packages or the user's own code made.

    Attributes:
        failed: number of them that the artifact failed.
        values: what each of them measured, by the check's name.
    """

    failed: int
    values: dict[str, dict[str, Measured]]


class Gate(Part):
    """A limit and the value compared with it.

    Attributes:
        name: name of the gate.
        limit: the limit; a value equal to it passes.
        value: the measured value; None fails.
        passed: whether the value keeps the limit.
    """

    name: str
    limit: float
    value: Measured
    passed: bool


class Flips(Part):
    """Queries whose nearest image shows the same thing with one model and not with the other.

    Attributes:
        lost: found by the old model in its own gallery, not found now (negative flips).
        gained: not found then, found now.
    """

    lost: int
    gained: int


class PartlyRebuilt(Part):
    """A gallery of which the new model has embedded only some images again.

    Attributes:
        share: share of the images that were embedded again, evenly spaced.
        mAP: of the new model's queries.
        flips: compared with the old model in its own gallery.
    """

    share: float
    mAP: Measured  # noqa: N815
    flips: Flips


class Upgrade(Part):
    """What becomes of galleries that an older model made, on the images of ``compatibility``.

    Attributes:
        space_id: embedding space of the old model.
        dim: number of values of the old model's embedding; the first ones of a new query search its galleries.
        queries: number of queries.
        old_mAP: the old model's queries in its own gallery.
        partly: galleries with some images embedded again: 0 is the old gallery, 1 a new one.
        gain: lowest mAP of any executed file's queries, and of the PyTorch model's, in the old gallery, minus
            ``old_mAP``.
        gain_low, gain_high: its 95 % confidence interval, by a paired bootstrap over the queries.
        lowest: the name of that file in ``compatibility``.
        gates: the limit on ``gain_low``.
    """

    space_id: str
    dim: int
    queries: int
    old_mAP: Measured  # noqa: N815
    partly: tuple[PartlyRebuilt, ...]
    gain: Measured
    gain_low: Measured
    gain_high: Measured
    lowest: str
    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether the new model may search the old model's galleries."""
        return all(gate.passed for gate in self.gates)

    def after(self, share: float) -> PartlyRebuilt:
        """What was measured with this share embedded again."""
        return next(each for each in self.partly if each.share == share)


class Measurement(Part):
    """The measurements of one artifact on one runtime; every part is None if nothing was executed.

    Attributes:
        parity: its embeddings compared with the PyTorch model's.
        ranking: its order of the gallery compared with the PyTorch model's.
        retrieval: its retrieval metrics.
        latency_ms: its latency; None if an emulator or a reference executor ran it, whose time says nothing.
        notes: notes of the runtime, one line each.
        neighbours: result of searching the bundle's gallery with the golden images.
        separation: its distance from the PyTorch model compared with that from broken models.
        acceleration: which operations an accelerator executed; absent if there is none.
        own: results of checks of other packages; absent if the recipe names none.
        thresholds: distances at which an app says "match"; absent in bundles of older versions.
        photos: retrieval if an app prepares photographs in another way; absent unless a recipe asks for it.
    """

    left_out = frozenset({"separation", "acceleration", "own", "thresholds", "photos"})

    parity: Parity | None = None
    ranking: Ranking | None = None
    retrieval: Retrieval | None = None
    latency_ms: LatencyResult | None = None
    notes: tuple[str, ...] = ()
    neighbours: Neighbours | None = None
    separation: Separation | None = None
    acceleration: AccelerationResult | None = None
    own: OwnChecks | None = None
    thresholds: Thresholds | None = None
    photos: PhotoWays | None = None


class PipelineTime(Part):
    """The time from an image file to its nearest gallery images: decoding, pixels, network, search.

    Attributes:
        median, p95: median and 95th percentile in milliseconds.
    """

    median: float
    p95: float


class Device(Part):
    """A phone or other device whose own measurement was brought in with ``compress import-device-results``.

    Attributes:
        model: maker and model.
        system: operating system and its version.
        measured_by: who measured.
        measured_at: day of the measurement, as YYYY-MM-DD.
        results_sha256: sha256 of the imported file.
        load_ms: milliseconds from opening the file to its first embedding.
        peak_bytes: most memory that the process had.
        delegate_share: share of the operations that the accelerator executed.
        pipeline_ms: time from an image file to its nearest gallery images.
    """

    left_out = frozenset({"load_ms", "peak_bytes", "delegate_share", "pipeline_ms"})

    model: str
    system: str
    measured_by: str
    measured_at: str
    results_sha256: str
    load_ms: float | None = None
    peak_bytes: int | None = None
    delegate_share: float | None = None
    pipeline_ms: PipelineTime | None = None


class Execution(Measurement):
    """A measurement with the runtime that made it and the verdict.

    Attributes:
        runtime: the component that executed the file.
        runtime_version: the library with its version; None if it is not installed.
        processor: kind of processor; absent in bundles of older versions.
        evidence: ``device`` (measured on a phone), ``native``, ``older-runtime``, ``gpu-software`` (on a software
            device), ``emulated-arm``, ``reference`` (executed operation by operation) or ``not-run``.
        reason: why nothing was executed, or None.
        gates: every limit with its value.
        device: the device that measured; absent if this machine did.
    """

    left_out = Measurement.left_out | {"processor", "device"}

    runtime: str
    runtime_version: str | None
    processor: Processor | None = None
    evidence: Evidence
    reason: str | None
    gates: tuple[Gate, ...]
    device: Device | None = None

    @property
    def failed(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if not gate.passed)
