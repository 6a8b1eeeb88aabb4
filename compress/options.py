"""A component's options checked against its fields: types, ranges, unknown and missing keys."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from compress.contracts import BadInput, Component
from compress.plugins import did_you_mean

C = TypeVar("C", bound=Component)


class BadOptions(BadInput):
    """Attributes: problems: one text per wrong option, each naming its key and value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def options_model(component: type[Component]) -> type[BaseModel]:
    """A pydantic model with the fields of a component class; strict, so that "3" is not 3 and 1 is not true."""
    hints = typing.get_type_hints(component, include_extras=True)
    fields: dict[str, Any] = {}
    for option in dataclasses.fields(component):
        required = option.default is dataclasses.MISSING
        # A nested component was checked when it was built; its class is no pydantic type.
        hint = Any if "only" in option.metadata else hints[option.name]
        fields[option.name] = (hint, ... if required else option.default)
    config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    return create_model(component.__name__, __config__=config, **fields)


def build(component: type[C], values: Mapping[str, Any], where: str) -> C:
    """The component with these options; lists may stand for tuples.

    Args:
        where: opens each key in the error messages, e.g. ``export.1.tflite``.

    Raises:
        BadOptions: options that are unknown, missing, of a wrong type or range, or do not fit together.
    """
    try:
        checked = options_model(component).model_validate({key: tuples(value) for key, value in values.items()})
        return component(**{name: getattr(checked, name) for name in type(checked).model_fields})
    except ValidationError as error:
        known = [option.name for option in dataclasses.fields(component)]
        raise BadOptions([_explain(problem, where, known) for problem in error.errors(include_url=False)]) from error
    except BadInput as error:
        raise BadOptions([f"{where}: {error}"]) from error


def tuples(value: Any) -> Any:
    """YAML and JSON lists as the tuples that frozen components hold."""
    if isinstance(value, list | tuple):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value


def _explain(problem: Mapping[str, Any], where: str, known: list[str]) -> str:
    """One pydantic error in the words of a recipe."""
    place = ".".join([where, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        near = did_you_mean(str(problem["loc"][-1]), known)
        return f"{place}: unknown key{near} (there are: {', '.join(known) or 'none'})"
    if problem["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: {problem['input']!r} is wrong, {problem['msg'][0].lower() + problem['msg'][1:]}"
