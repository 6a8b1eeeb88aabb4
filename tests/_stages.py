"""Stages with options as a recipe gives them."""

from __future__ import annotations

from typing import Any, TypeVar

from compress.contracts import Stage
from compress.options import build

S = TypeVar("S", bound=Stage)


def with_options(stage: type[S], **options: Any) -> S:
    return build(stage, options, stage.component_name())
