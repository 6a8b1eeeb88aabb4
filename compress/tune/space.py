"""The search space: a recipe with some of its values replaced."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.contracts import BadInput
from compress.recipe.overrides import set_value, value_at
from compress.recipe.reader import parse_recipe
from compress.recipe.tuning import Choices, Parameter, named

_MISSING = object()


@dataclass(frozen=True)
class Space:
    """Recipes that differ in the values of some keys.

    Attributes:
        document: the recipe's plain values, without the section ``tune``.
        parameters: what differs, in the order in which values are set.
        source: the recipe's file, which opens error messages.
    """

    document: Mapping[str, Any]
    parameters: tuple[Parameter, ...]
    source: str

    def with_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The document with these values: for choices their position, for ranges the number."""
        document = copy.deepcopy(dict(self.document))
        for parameter in self.parameters:
            if parameter.key in values:
                set_value(document, parameter.key, self._plain(parameter, values), f"{self.source}: tune")
        return document

    def shown(self, values: Mapping[str, Any]) -> dict[str, str]:
        """The same values as text, by key."""
        return {each.key: named(self._plain(each, values)) for each in self.parameters if each.key in values}

    def own(self) -> dict[str, Any]:
        """The values of the recipe as it is, of those keys whose value the space holds."""
        found: dict[str, Any] = {}
        for each in self.parameters:
            value = value_at(self.document, each.key, _MISSING)
            if isinstance(each, Choices):
                if value is not _MISSING and named(value) in each.names:
                    found[each.key] = each.names.index(named(value))
            elif isinstance(value, int | float) and not isinstance(value, bool) and each.low <= value <= each.high:
                found[each.key] = value
        return found

    def check(self) -> None:
        """Refuse values that no recipe could have; each is tried alone.

        Raises:
            BadInput: one line with every key and value that does not fit.
        """
        problems = []
        for each in self.parameters:
            tried: Sequence[Any] = range(len(each.values)) if isinstance(each, Choices) else (each.low, each.high)
            for value in tried:
                values = {each.key: value}
                try:
                    parse_recipe(self.with_values(values), f"{each.key}={self.shown(values)[each.key]}")
                except BadInput as error:
                    problems.append(str(error))
        if problems:
            raise BadInput(f"{self.source}: tune: {'; '.join(problems)}")

    @staticmethod
    def _plain(parameter: Parameter, values: Mapping[str, Any]) -> Any:
        value = values[parameter.key]
        return copy.deepcopy(parameter.values[value]) if isinstance(parameter, Choices) else value
