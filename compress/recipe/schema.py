"""The recipe's JSON schema, made from the components themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from compress import plugins
from compress.contracts import Component, GalleryOptions
from compress.options import options_model
from compress.recipe.reader import DISTANCES, NAME_PATTERN, check_sections


def json_schema() -> dict[str, Any]:
    """The recipe's JSON schema (draft 2020-12), made from the components themselves."""
    nested: dict[str, Any] = {}  # by reference, because an architecture may hold an architecture

    def options(kind: str, name: str) -> dict[str, Any]:
        return options_of(plugins.find(kind, name))

    def options_of(component: type[Component]) -> dict[str, Any]:
        schema = options_model(component).model_json_schema()
        for option in dataclasses.fields(component):
            if "only" in option.metadata:
                given = options(option.metadata["kind"], option.metadata["only"])
                schema["properties"][option.name] = {"oneOf": [{"type": "null"}, given], "default": None}
            elif "kind" in option.metadata:
                default, named = option.metadata["default"], {"$ref": reference(option.metadata["kind"])}
                allowed = {"oneOf": [{"type": "null"}, named]} if default is None else named
                schema["properties"][option.name] = {**allowed, "default": default}
                schema["required"] = [n for n in schema.get("required", []) if n != option.name]
        return schema

    def reference(kind: str) -> str:
        if kind not in nested:
            nested[kind] = {}
            nested[kind]["oneOf"] = [{"enum": plugins.names(kind)}, *_one_key(kind, options)]
        return f"#/$defs/{kind}"

    def choice(kind: str, key: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        branches = []
        for name in plugins.names(kind):
            schema = options(kind, name)
            schema["properties"] = {key: {"const": name}, **extra, **schema.get("properties", {})}
            schema["required"] = [key, *schema.get("required", [])]
            branches.append(schema)
        return {"oneOf": branches}

    stages = [name for name in plugins.names("stages") if name != "train"]
    checks = {check: options("checks", name) for check, name in check_sections().items()}
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
            "data": choice("datasets", "dataset", {}),
            "model": choice(
                "architectures",
                "architecture",
                {
                    "checkpoint": {"type": ["string", "null"], "default": None},
                    "distance": {"enum": list(DISTANCES)},
                },
            ),
            "train": {"oneOf": [{"type": "null"}, options("stages", "train")]},
            "compress": {"type": "array", "items": {"oneOf": _one_key("stages", options, stages)}},
            "export": {"type": "array", "items": {"oneOf": _one_key("exporters", options)}},
            "gallery": options_of(GalleryOptions),
            "validate": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    **checks,
                    "runtimes": {
                        "type": "array",
                        "items": {"oneOf": [{"enum": plugins.names("runtimes")}, *_one_key("runtimes", options)]},
                    },
                    "gates": {"type": "object", "additionalProperties": {"type": "number"}},
                },
            },
        },
        "$defs": nested,
    }


def _one_key(kind: str, options: Any, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    return [
        {"type": "object", "properties": {name: options(kind, name)}, "required": [name], "additionalProperties": False}
        for name in (names if names is not None else plugins.names(kind))
    ]
