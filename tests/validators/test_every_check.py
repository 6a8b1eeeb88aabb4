"""Every check of the folder tells a faithful artifact from a broken one, and never raises for either."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from compress.contracts import Check, EmbeddingSpec, HeldOut, ImageSet, Observation
from tests._components import every, made_up

D, IMAGES, CLASSES = 16, 60, 6
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((CLASSES, D))[np.arange(IMAGES) % CLASSES] + 0.3 * RANDOM.standard_normal((IMAGES, D))

BROKEN = {
    "NaN": np.full_like(FEATURES, np.nan),
    "constant": np.ones_like(FEATURES),
    "half of the values": FEATURES[:, : D // 2],
    "another image's": RANDOM.permutation(FEATURES),
}


def observed(features: np.ndarray) -> Observation:
    rows = features.astype(np.float32)
    return Observation(rows, rows, rows)


def numbers(values: Any) -> dict[str, float]:
    return {name: value for name, value in dict(values).items() if isinstance(value, float)}


def problems() -> Iterator[str]:
    """What is wrong with any check in the registry."""
    images = ImageSet(
        np.zeros((IMAGES, 4, 4, 3), np.uint8), np.arange(IMAGES) % CLASSES, tuple(map(str, range(IMAGES)))
    )
    held_out, spec = HeldOut(images, images, np.zeros((IMAGES, 4, 4, 3), np.uint8)), EmbeddingSpec(D)
    reference = observed(FEATURES)
    checks = every(Check)
    for section in {check.section for check in checks}:
        if sum(check.section == section for check in checks) > 1:
            yield f"two checks have the section '{section}'"
    for component in checks:
        check, name = component(), component.__name__
        try:
            faithful = numbers(check.run(reference, observed(FEATURES), held_out, spec))
            if not faithful or not all(math.isfinite(value) for value in faithful.values()):
                yield f"{name}: no finite numbers for the right outputs"
            for what, features in BROKEN.items():
                if numbers(check.run(reference, observed(features), held_out, spec)) == faithful:
                    yield f"{name}: does not see outputs that are {what}"
        except Exception as error:
            yield f"{name}: raises {type(error).__name__}"


def test_every_check_sees_broken_outputs() -> None:
    assert len(every(Check)) >= 3
    assert not list(problems())


@dataclass(frozen=True, kw_only=True)
class Blind(Check):
    section: ClassVar[str] = "made_up"

    def run(self, *_: object) -> Mapping[str, Any]:
        return {"score": 1.0}


def test_a_check_that_sees_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, Check, Blind)
    assert list(problems()) == [f"Blind: does not see outputs that are {what}" for what in BROKEN]


def test_a_check_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> Mapping[str, Any]:
        raise ValueError("a bad artifact")

    monkeypatch.setattr(Blind, "run", run)
    made_up(monkeypatch, Check, Blind)
    assert list(problems()) == ["Blind: raises ValueError"]


def test_a_second_check_of_a_section_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blind, "section", "parity")
    made_up(monkeypatch, Check, Blind)
    assert "two checks have the section 'parity'" in list(problems())
