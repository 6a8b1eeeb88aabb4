"""Near misses for the ends of error messages."""

from __future__ import annotations

import difflib


def did_you_mean(word: str, known: list[str]) -> str:
    """``; did you mean 'prune'?`` or the empty string, for the end of an error message."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
