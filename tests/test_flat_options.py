"""Options that a component holds as one value stand beside its own in a recipe."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from compress.contracts import Component, flat_field
from compress.options import BadOptions, build, options_model, options_of


@dataclass(frozen=True, kw_only=True)
class Inner(Component):
    epochs: int = 200
    rate: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Outer(Component):
    before: int = 1
    inner: Inner = flat_field(Inner, epochs=20)
    after: bool = False


def test_keys_are_flat_and_in_order_with_the_outer_defaults() -> None:
    built = build(Outer, {"rate": 0.5}, "outer")
    assert built == Outer(inner=Inner(epochs=20, rate=0.5))
    assert list(built.options().items()) == [("before", 1), ("epochs", 20), ("rate", 0.5), ("after", False)]
    assert build(Outer, built.options(), "outer") == built
    assert [option.name for option in options_of(Outer)] == [*built.options()]
    assert [*options_model(Outer).model_fields] == [*built.options()]


@pytest.mark.parametrize("wrong", [{"inner": {"epochs": 3}}, {"epochs": "3"}, {"epoch": 3}])
def test_only_the_flat_keys_are_taken(wrong: dict[str, object]) -> None:
    with pytest.raises(BadOptions, match=f"outer.{next(iter(wrong))}"):
        build(Outer, wrong, "outer")
