"""YAML 1.2 text, and ``--set a.b.0.c=value`` on what was read from it."""

from __future__ import annotations

import itertools
from typing import Any

from compress.contracts import BadInput
from compress.system.bounded_reading import require_plain_values

_CHARACTERS, _VALUES, _OPEN = 50_000, 10_000, 100
"""The longest recipe of the package has 2,000 characters; reading 50,000 takes up to 6 seconds, and 2,000 open brackets
as long."""


def yaml_reader() -> Any:
    """Make a reader of YAML 1.2: ``no`` is text, ``1e-4`` is a number, a key that is listed twice is an error."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    return yaml


def parse_yaml(text: str) -> Any:
    """The value of YAML text: None, bool, int, float, str, and lists and mappings of these.

    Raises:
        ValueError: in one line, not valid YAML, longer than a recipe can be, or values that no recipe holds.
    """
    if len(text) > _CHARACTERS:
        raise ValueError(f"{len(text):,} characters, at most {_CHARACTERS:,} are read")
    steps = ((character in "[{") - (character in "]}") for character in text)
    if max(itertools.accumulate(steps), default=0) > _OPEN:
        raise ValueError("nested too deep")
    try:
        value = yaml_reader().load(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except Exception as error:  # ruamel leaks errors of every kind from dates, numbers and tags
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())[:500]}") from error
    require_plain_values(value, most=_VALUES)
    return value


def apply_override(document: dict[str, Any], override: str) -> None:
    """Set one value in place: ``compress.1.prune.ratio=0.3``."""
    address, equals, text = override.partition("=")
    if not equals or not all(address.split(".")):
        raise BadInput(f"--set {override}: write it as key.key=value")
    try:
        value = parse_yaml(text) if text else None
        require_plain_values(address)
    except ValueError as error:
        raise BadInput(f"--set {override}: {error}") from error
    set_value(document, address, value, f"--set {override}")


def set_value(document: dict[str, Any], address: str, value: Any, where: str) -> None:
    """Set the value at ``address``, keys and numbers in lists joined by dots, in place.

    Args:
        where: the start of an error message.

    Raises:
        BadInput: a list on the way has no such number, or a value on the way holds nothing.
    """
    keys = address.split(".")
    node: Any = document
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            if not (key.isascii() and key.isdigit()) or len(key) > 9 or int(key) >= len(node):
                raise BadInput(
                    f"{where}: '{'.'.join(keys[:depth])}' is a list of {len(node)}; '{key}' is not one of its numbers"
                )
            position: Any = int(key)
        elif isinstance(node, dict):
            position = key
            if not last and node.get(key) is None:
                node[key] = {}
        else:
            raise BadInput(f"{where}: '{'.'.join(keys[:depth])}' is {node!r} and holds no '{key}'")
        if last:
            node[position] = value
        node = node[position]


def value_at(document: Any, address: str, missing: Any = None) -> Any:
    """The value at ``address``; ``missing`` if there is none."""
    node = document
    for key in address.split("."):
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) <= 9 and int(key) < len(node):
            node = node[int(key)]
        else:
            return missing
    return node
