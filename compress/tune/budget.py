"""The limits of ``--budget``, such as ``ms<0.5,bytes<1.2e6``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from compress.contracts import BadInput

_TERM = re.compile(r"\s*(\w+)\s*<\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*")
_KNOWN = ("ms", "bytes")


@dataclass(frozen=True)
class Budget:
    """What an exported file may take: less than these; None for any."""

    ms: float | None = None
    bytes: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read limits, separated by commas.

        Raises:
            BadInput: in one line, which limit cannot be read.
        """
        found: dict[str, float] = {}
        for term in text.split(","):
            match = _TERM.fullmatch(term)
            try:
                name, limit = (match[1], float(match[2])) if match else ("", 0.0)
            except ValueError:
                name, limit = "", 0.0
            if name not in _KNOWN or not 0 < limit < math.inf:
                raise BadInput(
                    f"--budget '{text}': '{term.strip()}' is no limit; write ms<NUMBER and bytes<NUMBER, such as "
                    "ms<0.5,bytes<1.2e6"
                )
            if name in found:
                raise BadInput(f"--budget '{text}': {name} is limited twice; remove one")
            found[name] = limit
        return cls(**found)

    def excess(self, ms: float | None, size: float | None) -> dict[str, float]:
        """How far each limited value is above its limit, as a share of the limit; 0 or less if it is not."""
        values = {"ms": (ms, self.ms), "bytes": (size, self.bytes)}
        return {
            name: value / limit - 1 + 1e-9  # a value equal to the limit does not meet it
            for name, (value, limit) in values.items()
            if value is not None and limit is not None
        }

    def meets(self, ms: float, size: float) -> bool:
        return all(excess <= 0 for excess in self.excess(ms, size).values())
