"""Values and text that were once trouble, mixed with random ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NUMBERS: st.SearchStrategy[Any] = st.sampled_from(
    [0, -1, 1, 2, 10**9, 10**12, 2**63 - 1, 2**63, -(2**63), 10**400, 0.0, -0.5, 1e-300, 1e308, True]
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", ".", "..", "../../outside/secret", "/etc/passwd", "a" * 5000, "a\0b", "\x1b[2J", "\u202e", "\n"]
    ),
    st.sampled_from(["nan", "alnet", "tflite", "fp32", "int8", "[/bold]", "{{7*7}}", "<script>", "%s%n", "é", "null"]),
)
PLAIN = st.one_of(st.none(), NUMBERS, TEXTS)
VALUES = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=4),
    st.dictionaries(TEXTS, PLAIN, max_size=3),
    st.sampled_from([[[]], {"a": {"b": {}}}, [10**9] * 7, [[1] * 3] * 3]),
)


def locations(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value within ``value``, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(each for key, item in inner for each in locations(item, (*above, key)))]


def replaced(value: Any, location: tuple[Any, ...], new: Any) -> Any:
    """``value`` with one value in it replaced."""
    if not location:
        return new
    first, rest = location[0], location[1:]
    if isinstance(value, dict):
        return {key: replaced(item, rest, new) if key == first else item for key, item in value.items()}
    return [replaced(item, rest, new) if number == first else item for number, item in enumerate(value)]
