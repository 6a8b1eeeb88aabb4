"""Put the recipes and the samples into the wheel. An editable install finds them in the checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShippedFiles(BuildHookInterface):
    """Adds ``recipes/`` and ``examples/`` to a wheel as ``compress/shipped``, see ``compress/recipe/shipped.py``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"].update({kind: f"compress/shipped/{kind}" for kind in ("recipes", "examples")})
