"""Components: the parts of Compress that recipes name and configure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Component:
    """Something a recipe names: the fields are its options, its one method does the work.

    A component lives alone in ``<folder>/<name>.py``; the file's name is the name recipes use. A component of another
    package has the name by which the recipe found it.

    Class attributes:
        registered_as: the name of a component of another package.
    """

    registered_as: ClassVar[str | None] = None

    @classmethod
    def component_name(cls) -> str:
        given: str | None = vars(cls).get("registered_as")
        return given or cls.__module__.rpartition(".")[2]

    def options(self) -> dict[str, Any]:
        """The options as plain JSON values, in the order of the fields; a ``newer_field`` only if it was changed."""
        plain: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if "newer" in f.metadata and value == f.default:
                continue
            if "flat" in f.metadata:
                plain |= value.options()
                continue
            plain[f.name] = value.options() if "only" in f.metadata and value is not None else _plain(value)
        return plain


def newer_field(default: Any) -> Any:
    """A field that an architecture got after galleries were made with it.

    The name of an embedding space depends on the options; the default is not among them, so that old names stay.
    """
    return field(default=default, metadata={"newer": True})


def component_field(base: type[Component], default: str | None) -> Any:
    """A field that holds a component of ``base``; it may be None if ``default`` is None.

    Recipes give ``{name: {options}}`` or the name alone. Only ``compress.options.build`` fills in ``default``, because
    sibling folders do not import each other.
    """
    metadata = {"base": base, "default": default}
    return field(metadata=metadata) if default is not None else field(default=None, metadata=metadata)


def only_field(base: type[Component], name: str) -> Any:
    """A field that holds the component ``name`` of ``base`` or None: recipes give its options, or leave it out."""
    return field(default=None, metadata={"base": base, "only": name, "default": None})


def flat_field(options: type[Component], **defaults: Any) -> Any:
    """A field that holds ``options``; recipes give its fields next to the component's own options.

    Args:
        defaults: defaults of this component that differ from those of ``options``.
    """
    return field(default_factory=lambda: options(**defaults), metadata={"flat": options, "defaults": defaults})


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return {value.component_name(): value.options()}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value
