"""The recipe's JSON schema, made from the components themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import plugins
from compress.contracts import (
    Architecture,
    BadInput,
    Check,
    Component,
    Dataset,
    Exporter,
    GalleryOptions,
    MissingTool,
    PhotoOptions,
    Runtime,
    Stage,
)
from compress.options import options_model, options_of
from compress.recipe.reader import DISTANCES, LOGGERS, NAME_PATTERN, check_sections
from compress.system.bounded_reading import read_json

_CODE = {"type": "string", "pattern": ":"}
_OWN = {"type": "object", "propertyNames": _CODE, "minProperties": 1, "maxProperties": 1}
"""A component that the user's own code gives, with its options."""


_SEVERAL = {"type": "array", "minItems": 2}
_RANGE = {
    "type": "object",
    "properties": {
        **{name: {"type": "number"} for name in ("low", "high", "step")},
        "log": {"type": "boolean"},
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}
WRITTEN = Path(__file__).with_name("recipe.schema.json")
"""The schema of our own components, for installs that cannot load all of them; ``make schema`` writes it."""


def schema_here() -> dict[str, Any]:
    """The schema of what is installed here; that of our own components if one of them cannot be loaded."""
    try:
        return json_schema()
    except MissingTool:
        found: dict[str, Any] = read_json(WRITTEN)
        return found


def json_schema() -> dict[str, Any]:
    """The recipe's JSON schema (draft 2020-12), made from the components themselves."""
    nested: dict[str, Any] = {}  # by reference, because an architecture may hold an architecture

    def options(base: type[Component], name: str) -> dict[str, Any]:
        if name in plugins.names(base):
            return schema_of(plugins.find(base, name))
        try:
            with plugins.naming_code():
                return schema_of(plugins.find(base, name))
        except (BadInput, MissingTool):  # an installed package whose code does not load here
            return {"type": "object", "properties": {}}

    def schema_of(component: type[Component]) -> dict[str, Any]:
        schema = options_model(component).model_json_schema()
        for option in options_of(component):
            if "only" in option.metadata:
                given = options(option.metadata["base"], option.metadata["only"])
                schema["properties"][option.name] = {"oneOf": [{"type": "null"}, given], "default": None}
            elif "base" in option.metadata:
                default, named = option.metadata["default"], {"$ref": reference(option.metadata["base"])}
                allowed = {"oneOf": [{"type": "null"}, named]} if default is None else named
                schema["properties"][option.name] = {**allowed, "default": default}
                schema["required"] = [n for n in schema.get("required", []) if n != option.name]
        return schema

    def reference(base: type[Component]) -> str:
        kind = plugins.kind(base)
        if kind not in nested:
            nested[kind] = {}
            nested[kind]["oneOf"] = [{"enum": plugins.nameable(base)}, *_one_key(base, options), _CODE, _OWN]
        return f"#/$defs/{kind}"

    def choice(base: type[Component], key: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        branches = []
        for name in plugins.nameable(base):
            schema = options(base, name)
            schema["properties"] = {key: {"const": name}, **extra, **schema.get("properties", {})}
            schema["required"] = [key, *schema.get("required", [])]
            branches.append(schema)
        # Code of the user's own, whose options are its fields or parameters.
        branches.append({"properties": {key: _CODE, **extra}, "required": [key]})
        return {"oneOf": branches}

    stages = [name for name in plugins.nameable(Stage) if name != "train"]
    foreign = [name for name in plugins.nameable(Check) if name not in plugins.names(Check)]
    checks = {check: options(Check, name) for check, name in check_sections().items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Compress recipe",
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "data", "model"],
        "properties": {
            "name": {"type": "string", "pattern": f"^{NAME_PATTERN.pattern}$"},
            "seed": {"type": "integer", "minimum": 0, "default": 0},
            "license": {"type": "string", "default": "unspecified"},
            "log": {"type": ["array", "null"], "items": {"enum": list(LOGGERS)}},
            "data": choice(Dataset, "dataset", {}),
            "model": choice(
                Architecture,
                "architecture",
                {
                    "checkpoint": {"type": ["string", "null"], "default": None},
                    "distance": {"enum": list(DISTANCES)},
                },
            ),
            "train": {"oneOf": [{"type": "null"}, options(Stage, "train")]},
            "compress": {"type": "array", "items": {"oneOf": [*_one_key(Stage, options, stages), _OWN]}},
            "export": {"type": "array", "items": {"oneOf": [*_one_key(Exporter, options), _OWN]}},
            "gallery": schema_of(GalleryOptions),
            "validate": {
                "type": "object",
                "additionalProperties": False,
                "patternProperties": {":": {"type": ["object", "null"]}},
                "properties": {
                    **checks,
                    **{name: options(Check, name) for name in foreign},
                    "photos": {"oneOf": [{"type": "null"}, schema_of(PhotoOptions)], "default": None},
                    "runtimes": {
                        "type": "array",
                        "items": {
                            "oneOf": [{"enum": plugins.nameable(Runtime)}, *_one_key(Runtime, options), _CODE, _OWN]
                        },
                    },
                    "gates": {"type": "object", "additionalProperties": {"type": "number"}},
                },
            },
            "tune": {"type": ["object", "null"], "additionalProperties": {"oneOf": [_SEVERAL, _RANGE]}},
        },
        "$defs": nested,
    }


def _one_key(base: type[Component], options: Any, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    return [
        {"type": "object", "properties": {name: options(base, name)}, "required": [name], "additionalProperties": False}
        for name in (names if names is not None else plugins.nameable(base))
    ]
