"""A component's options checked against its fields: types, ranges, unknown and missing keys."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, create_model

from compress.contracts import Component

C = TypeVar("C", bound=Component)


def options_model(component: type[Component]) -> type[BaseModel]:
    """A pydantic model with the fields of a component class; strict, so that "3" is not 3 and 1 is not true."""
    hints = typing.get_type_hints(component, include_extras=True)
    fields: dict[str, Any] = {}
    for option in dataclasses.fields(component):
        required = option.default is dataclasses.MISSING
        fields[option.name] = (hints[option.name], ... if required else option.default)
    config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    return create_model(component.__name__, __config__=config, **fields)


def build(component: type[C], values: dict[str, Any]) -> C:
    """The component with these options; lists must have become tuples.

    Raises:
        pydantic.ValidationError: every option that is unknown, missing or of a wrong type or range.
        BadInput: options that do not fit together, as the component itself finds.
    """
    checked = options_model(component).model_validate(values)
    return component(**{name: getattr(checked, name) for name in type(checked).model_fields})
