"""Time alternatives side by side: in turn, round after round, so that noise of the machine meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    alternatives: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Seconds of one call of each, the median over the rounds; the first, warming round is left out.

    ``clock`` may be ``time.thread_time`` where all is computed in this thread: the time that others get on a shared
    machine then does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for number in range(rounds + 1):
        for name, call in alternatives.items():
            start = clock()
            call()
            if number:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
