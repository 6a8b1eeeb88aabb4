"""A component's options checked against its fields: types, ranges, unknown and missing keys."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from compress import plugins
from compress.contracts import BadInput, Component, MissingTool
from compress.plugins import did_you_mean

C = TypeVar("C", bound=Component)

_TYPE = re.compile(r"(constrained-\w+|tuple\[.*\]|literal\[.*\])$")


class BadOptions(BadInput):
    """Options of a component are wrong.

    Attributes:
        problems: one text per wrong option, each naming its key and value.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True)
class Option:
    """One key that a recipe may give a component.

    Attributes:
        default: ``dataclasses.MISSING`` if the key must be given, or if ``build`` fills it in.
        metadata: metadata of the field, as ``component_field`` and ``only_field`` set it.
    """

    name: str
    hint: Any
    default: Any
    metadata: Mapping[str, Any]


def options_of(component: type[Component]) -> list[Option]:
    """A component's options in order; a ``flat_field`` is replaced by its own options."""
    hints = typing.get_type_hints(component, include_extras=True)
    found = []
    for field in dataclasses.fields(component):
        if "flat" not in field.metadata:
            found.append(Option(field.name, hints[field.name], field.default, field.metadata))
            continue
        defaults = field.metadata["defaults"]
        for option in options_of(field.metadata["flat"]):
            found.append(dataclasses.replace(option, default=defaults.get(option.name, option.default)))
    return found


def options_model(component: type[Component]) -> type[BaseModel]:
    """Make a pydantic model of a component's options; it is strict, so that "3" is not 3 and 1 is not true."""
    fields: dict[str, Any] = {}
    for option in options_of(component):
        required = option.default is dataclasses.MISSING
        # A nested component was checked when it was built; its class is not a pydantic type.
        hint = Any if "base" in option.metadata else option.hint
        fields[option.name] = (hint, ... if required else option.default)
    config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    return create_model(component.__name__, __config__=config, **fields)


def build(component: type[C], values: Mapping[str, Any], where: str) -> C:
    """Build the component with these options; tuples may be given as lists, nested components by name or mapping.

    Args:
        where: the start of each key in error messages, e.g. ``export.1.tflite``.

    Raises:
        BadOptions: options are unknown, missing, of a wrong type or range, or do not fit together.
        MissingTool: a nested component needs a library that is not installed.
    """
    values = {**values, **_nested(component, values, where)}
    try:
        checked = options_model(component).model_validate({key: tuples(value) for key, value in values.items()})
        return _assembled(component, {name: getattr(checked, name) for name in type(checked).model_fields})
    except ValidationError as error:
        known = [option.name for option in options_of(component)]
        raise BadOptions([_explain(problem, where, known) for problem in error.errors(include_url=False)]) from error
    except BadInput as error:
        raise BadOptions([f"{where}: {error}"]) from error


def _assembled(component: type[C], checked: Mapping[str, Any]) -> C:
    """Build the component from checked options; a ``flat_field`` gets its own options."""
    given = {}
    for field in dataclasses.fields(component):
        flat = field.metadata.get("flat")
        given[field.name] = checked[field.name] if flat is None else _assembled(flat, checked)
    return component(**given)


def build_named(base: type[C], entry: Any, where: str) -> C:
    """Build the component of ``base`` given as ``name`` or ``{name: options}``. Raises as ``build`` does."""
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, options),) = entry.items()
        return build_component(base, str(name), options, f"{where}.{name}")
    if not isinstance(entry, str):
        known = ", ".join(plugins.nameable(base))
        raise BadOptions([f"{where}: {entry!r} must be one name or one 'name: {{options}}' ({known})"])
    return build_component(base, entry, {}, where)


def build_component(base: type[C], name: str, options: Any, where: str) -> C:
    """Build the component of ``base`` with this name; None means no options. Raises as ``build`` does."""
    if options is not None and not isinstance(options, Mapping):
        raise BadOptions([f"{where}: {options!r} must be a mapping of options"])
    try:
        component = plugins.find(base, name)
    except MissingTool as error:
        raise MissingTool(f"{where}: {error}") from error
    except BadInput as error:
        raise BadOptions([f"{where}: {error}"]) from error
    return build(component, options or {}, where)


def _nested(component: type[Component], values: Mapping[str, Any], where: str) -> dict[str, Component]:
    """Build the nested components, by field."""
    found = {}
    for option in options_of(component):
        if "base" not in option.metadata:
            continue
        base, key = option.metadata["base"], f"{where}.{option.name}"
        given = values.get(option.name, option.metadata["default"])
        if isinstance(given, Component) or (given is None and option.metadata["default"] is None):
            continue
        if "only" in option.metadata:
            found[option.name] = build_component(base, option.metadata["only"], given, key)
        else:
            found[option.name] = build_named(base, given, key)
    return found


def tuples(value: Any) -> Any:
    """Turn YAML and JSON lists into the tuples that frozen components hold."""
    if isinstance(value, list | tuple):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value


def _explain(problem: Mapping[str, Any], where: str, known: list[str]) -> str:
    """Express one pydantic error in the words of a recipe."""
    # Of a field that takes one of several types, pydantic names the type that it tried.
    key = ".".join([where, *(str(part) for part in problem["loc"] if not _TYPE.match(str(part)))])
    if problem["type"] == "extra_forbidden":
        near = did_you_mean(str(problem["loc"][-1]), known)
        return f"{key}: unknown key{near} (there are: {', '.join(known) or 'none'})"
    if problem["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {problem['input']!r} is wrong, {problem['msg'][0].lower() + problem['msg'][1:]}"
