"""Limits that decide whether an artifact may ship, and the values that are compared with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from compress.contracts import TIMED, BadInput, EmbeddingKind, Evidence, Processor
from compress.plugins import did_you_mean
from validators.results import Gate, Measurement, Part


@dataclass(frozen=True)
class Rule:
    """The value that a gate limits: ``value`` of ``section``; a value equal to the limit passes."""

    section: str
    value: str
    direction: Literal["at least", "at most"]

    @property
    def location(self) -> str:
        return f"{self.section}.{self.value}"


RULES = {
    "min_cosine": Rule("parity", "min_cosine", "at least"),
    "min_centered_cosine": Rule("parity", "min_centered_cosine", "at least"),
    "max_abs_error": Rule("parity", "max_abs_error", "at most"),
    "max_rel_error": Rule("parity", "max_rel_error", "at most"),
    "top10_overlap": Rule("parity", "top10_overlap", "at least"),
    "golden_neighbours": Rule("neighbours", "golden_neighbours", "at least"),
    "control_ratio": Rule("separation", "control_ratio", "at most"),
    "bit_flip_rate": Rule("parity", "bit_flip_rate", "at most"),
    "mAP": Rule("retrieval", "mAP", "at least"),
    "mAP_drop": Rule("retrieval", "mAP_drop", "at most"),
    "threshold_shift": Rule("thresholds", "shift", "at most"),
    "photo_mAP_drop": Rule("photos", "mAP_drop", "at most"),
    "bytes": Rule("file", "bytes", "at most"),
    "params": Rule("model", "params", "at most"),
    "macs": Rule("model", "macs", "at most"),
    "latency_ms": Rule("latency_ms", "median", "at most"),
    "latency_ratio": Rule("latency_ms", "ratio", "at most"),
    "mobile_problems": Rule("file", "mobile_problems", "at most"),
    "accelerated": Rule("acceleration", "share", "at least"),
    "own_checks": Rule("own", "failed", "at most"),
    "index_recall": Rule("gallery", "recall@10", "at least"),
    "old_gallery_gain": Rule("upgrade", "gain_low", "at least"),
}
"""Gate -> the value that it limits.

control_ratio is how far an artifact is from the PyTorch model, in units of its distance from the nearest broken model;
threshold_shift is how far the distances at which apps say "match" are from the PyTorch model's, as a share of the
median distance of different things; photo_mAP_drop is the largest mAP drop over the ways in which apps prepare
photographs, and is judged where the runtime is fast enough to be timed; latency_ms is one image on one thread,
latency_ratio the same divided by the PyTorch model's in the same run, which depends less on the machine;
mobile_problems counts the reasons for which PyTorch Mobile would refuse a TorchScript file; accelerated is the share of
operations that a GPU executes, and is judged only there; own_checks is the number of checks of other packages that
failed; index_recall is the recall@10 of the gallery's index; old_gallery_gain is how much higher than the old model's
the mAP of new queries in the old model's gallery is, that of the worst file, at the lower end of its 95 % interval.
These two belong to no artifact.
"""

INDEX_RECALL, OLD_GALLERY_GAIN, OWN_CHECKS = "index_recall", "old_gallery_gain", "own_checks"
OF_NO_ARTIFACT = frozenset({INDEX_RECALL, OLD_GALLERY_GAIN})
"""Gates of the whole bundle."""
STATIC = frozenset(name for name, rule in RULES.items() if rule.section in ("file", "model"))
"""Gates that are judged without executing anything."""
NOT_FROM_GOLDEN = frozenset({"mAP", "mAP_drop", "latency_ratio", "own_checks", "threshold_shift", "photo_mAP_drop"})
"""Gates that need all held-out images, the PyTorch model's time or another package's code; the golden images of a
bundle cannot judge them."""
_TIMED_ONLY = frozenset({"latency_ms", "latency_ratio", "photo_mAP_drop"})
"""Gates that are judged only on runtimes that are timed; emulators and reference executors are too slow."""

_LIMITS = {
    "fp32": {
        "min_cosine": 0.99999,
        "min_centered_cosine": 0.9999,
        "max_rel_error": 1e-4,
        "mAP_drop": 0.001,
        "golden_neighbours": 0.99,
    },
    "fp16": {"min_cosine": 0.998, "mAP_drop": 0.005, "golden_neighbours": 0.95},
    "w8": {"min_cosine": 0.995, "mAP_drop": 0.005, "golden_neighbours": 0.9},
    "p8": {"min_cosine": 0.995, "mAP_drop": 0.005, "golden_neighbours": 0.9},
    "p6": {"min_cosine": 0.97, "mAP_drop": 0.005, "golden_neighbours": 0.8},
    "w8a32": {"min_cosine": 0.9, "mAP_drop": 0.005, "golden_neighbours": 0.8},
    "w8a8": {"min_cosine": 0.9, "mAP_drop": 0.005, "golden_neighbours": 0.8},
    "w4": {"min_cosine": 0.9, "mAP_drop": 0.01, "golden_neighbours": 0.75},
    "p4": {"min_cosine": 0.85, "mAP_drop": 0.01, "golden_neighbours": 0.6},
}


_LOCAL_NEIGHBOURS = 0.85
_FLIPPED_BITS = {"fp32": 0.001, "fp16": 0.001, "w8": 0.01, "p8": 0.01}
_FLIPPED_BITS_OF_OTHERS = 0.05
_FORMAT_LIMITS = {"torchscript": {"mobile_problems": 0.0}, "torchscript-lite": {"mobile_problems": 0.0}}


def default_limits(precision: str, file_format: str | None = None, kind: EmbeddingKind = "float") -> dict[str, float]:
    """The default limits for an artifact of this precision, format and kind of embedding; a recipe may change them.

    fp32 may differ from PyTorch by rounding alone: trained networks had max_rel_error 1e-6 to 5e-6 on every runtime,
    and making one weight of a million 10 % larger gave more than 1e-4 in two of three cases. fp16 may differ by
    half-precision rounding of every activation.

    The other limits have a margin over the losses of ALNet trained on Fashion-MNIST and on CIFAR-10 (10,000 test images
    each): for min_cosine a factor of about three for weights of 6 bits or more, less for 4-bit weights or rounded
    activations. Worst values of min_cosine, mAP_drop and golden_neighbours over both data sets and all formats:

        w8 0.9982 0.0003 0.975 · p8 0.9997 0.0001 0.981 · p6 0.9927 0.0003 0.933 · w8a32 0.936 0.0005 0.933
        w8a8 0.929 0.0005 0.878 · w4 0.918 0.0033 0.844 · p4 0.922 0.0014 0.745

    If activations are rounded, too, single images differ much more than all others: the mean cosine of w8a32 is 0.9994.

    Arm rounds activations otherwise than x86, and the limits are for both. The quickstart's ALNet on 1,000 digits, on
    x86 and then on an emulated cortex-a76:

        w8a32 0.962 -0.0007 0.917 and 0.962 -0.0006 0.919 · w8a8 0.792 0.0073 0.841 and 0.792 0.0073 0.841
        without XNNPACK: w8a32 0.962 -0.0001 0.919 on both · w8a8 0.850 0.0070 0.822 and 0.883 0.0069 0.831
        w8a8 in ONNX Runtime 0.900 0.0078 0.808 on both

    On Arm each value is within 0.009 of x86's, or better, so the same limits hold on both and none is loosened: this
    network learnt from too few images for w8a8 and fails on both. Single images differ between the two processors by a
    cosine of up to 0.05, so passing on x86 is no evidence for Arm.

    Of the bits of codes (a narrow ALNet's 16 on 500 digits) fp32 flipped none, fp16 0.01 %, w8 0.34 % and w8a8 1.4 %.

    golden_neighbours, measured with ALNet on the digits (1,280 values, 1,000 gallery images) and on ten classes of
    tinted digits (64 values, 60 images): rounding of fp32 1.0 and 1.0; fp16 0.997 and 0.997; weights of 8 bits 0.95
    and 0.98, of 6 bits 0.87 and 0.94, of 5 bits 0.75 and 0.79. Swapped channels on the digits give 0.94. With local
    features, rounding of fp32 also changes some neighbours: 0.92 with DELF on clothing, because it decides which of the
    many equal features of a plain background are each other's nearest.

    Raises:
        BadInput: a precision that has no limits.
    """
    if precision not in _LIMITS:
        raise BadInput(
            f"precision: '{precision}' has no limits (those that have: {', '.join(_LIMITS)}); update Compress"
        )
    codes = {"bit_flip_rate": _FLIPPED_BITS.get(precision, _FLIPPED_BITS_OF_OTHERS)} if kind == "binary" else {}
    limits = {"control_ratio": 1.0, **_LIMITS[precision], **_FORMAT_LIMITS.get(file_format or "", {}), **codes}
    if kind == "local":
        limits["golden_neighbours"] = min(limits["golden_neighbours"], _LOCAL_NEIGHBOURS)
    return limits


def limits_on(
    processor: Processor | None, evidence: Evidence, limits: Mapping[str, float], precision: str
) -> dict[str, float]:
    """The limits that hold on one processor, out of those of an artifact.

    Latencies are judged where they mean something, and a limit on mAP only where all held-out images were used. A GPU
    must execute every operation, and a real one may compute fp32 files in half precision: their defaults are replaced
    by those of fp16. SwiftShader computes in float32: trained ALNets had max_rel_error 1e-6 on it.
    """
    found = dict(limits)
    if evidence not in TIMED:
        found = {name: limit for name, limit in found.items() if name not in _TIMED_ONLY}
    if evidence == "gpu-software":
        found.pop("mAP", None)
    if precision == "fp32" and processor in ("gpu", "npu") and evidence != "gpu-software":
        found = {
            name: _LIMITS["fp16"].get(name, math.nan) if limit == _LIMITS["fp32"].get(name) else limit
            for name, limit in found.items()
        }
        found = {name: limit for name, limit in found.items() if not math.isnan(limit)}
    if processor == "gpu" and evidence != "device":  # a phone need not report its share
        return {"accelerated": 1.0, **found}
    found.pop("accelerated", None)
    return found


def check_names(names: Iterable[str]) -> None:
    """Raises BadInput, naming the nearest gate, unless every name is one."""
    for name in names:
        if name not in RULES:
            known = list(RULES)
            raise BadInput(f"unknown gate '{name}' (there are: {', '.join(known)}){did_you_mean(name, known)}")


def short_name(name: str) -> str:
    """The gate's name, also if given with its section, such as ``parity.min_cosine``; any other text unchanged."""
    return next((gate for gate, rule in RULES.items() if rule.location == name), name)


def located(section: str, result: Part | None) -> dict[str, float | None]:
    """The numbers of one section of a result, by location, as ``evaluate_gates`` expects them."""
    values = {} if result is None else dict(result)
    return {
        f"{section}.{name}": value
        for name, value in values.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def located_all(measurement: Measurement) -> dict[str, float | None]:
    """The numbers of every section of a measurement by location."""
    found: dict[str, float | None] = {}
    for section in Measurement.model_fields:
        result = getattr(measurement, section)
        if isinstance(result, Part):
            found |= located(section, result)
    return found


def evaluate_gates(limits: Mapping[str, float], values: Mapping[str, float | None]) -> tuple[Gate, ...]:
    """Compare values with limits: one gate per limit, in the order of the limits.

    A value that is missing, None or NaN fails, because what was not measured is not proved. Its gate holds None.

    Args:
        limits: gate -> limit.
        values: location, such as ``parity.min_cosine``, -> value; so values of different sections are not mixed up.

    Raises:
        BadInput: an unknown gate, or a limit that is NaN.
    """
    check_names(limits)
    return tuple(_evaluate(name, limit, values.get(RULES[name].location)) for name, limit in limits.items())


def _evaluate(name: str, limit: float, measured: float | None) -> Gate:
    if math.isnan(limit):
        raise BadInput(f"gate '{name}': the limit is NaN; give a number")
    value = math.nan if measured is None else float(measured)
    # Comparisons with NaN are false in both directions.
    passed = value >= limit if RULES[name].direction == "at least" else value <= limit
    return Gate(name=name, limit=limit, value=value, passed=passed)
