"""YAML 1.2 text, and ``--set a.b.0.c=value`` on what was read from it."""

from __future__ import annotations

from typing import Any

from compress.contracts import BadInput


def yaml_reader() -> Any:
    """YAML 1.2: ``no`` is text, ``1e-4`` is a number, a key that stands twice is an error."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    return yaml


def apply_override(document: dict[str, Any], override: str) -> None:
    """Set one value in place: ``compress.1.prune.ratio=0.3``."""
    from ruamel.yaml.error import YAMLError

    address, equals, text = override.partition("=")
    keys = address.split(".")
    if not equals or not all(keys):
        raise BadInput(f"--set {override}: write it as key.key=value")
    try:
        value = yaml_reader().load(text) if text else None
    except YAMLError as error:
        raise BadInput(f"--set {override}: the value is not valid YAML") from error
    node: Any = document
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                raise BadInput(
                    f"--set {override}: '{'.'.join(keys[:depth])}' is a list of {len(node)}; "
                    f"'{key}' is not one of its numbers"
                )
            position: Any = int(key)
        elif isinstance(node, dict):
            position = key
            if not last and node.get(key) is None:
                node[key] = {}
        else:
            raise BadInput(f"--set {override}: '{'.'.join(keys[:depth])}' is {node!r} and holds no '{key}'")
        if last:
            node[position] = value
        node = node[position]
