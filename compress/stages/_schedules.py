"""Learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["step", "cosine", "one_cycle", "constant"]


def learning_rate(
    schedule: Schedule, peak: float, step: int, total: int, warm_up: float = 0, *, milestones: int = 3
) -> float:
    """The learning rate before step ``step`` of ``total`` (0-based).

    Over the first ``warm_up`` steps the rate rises linearly to the peak; the schedule covers the others.

    - ``step``: split the run into ``milestones`` equal parts and divide the rate by 10 at the start of every part but
      the first; 3 parts are OMCBIR's released schedule (x0.1 every 66 of 200 epochs).
    - ``cosine``: half a cosine from ``peak`` to 0 (Loshchilov & Hutter 2017, without restarts).
    - ``one_cycle``: cosine from peak/25 up to ``peak`` over 30 % of the run, then down to peak/10,000 (Smith &
      Topin 2018, the annealing of torch's OneCycleLR, momentum kept constant).
    - ``constant``: ``peak``.
    """
    if step < warm_up:
        return peak * (step + 1) / (math.ceil(warm_up) + 1)
    progress = (step - math.ceil(warm_up)) / (total - math.ceil(warm_up)) if warm_up else step / total
    if schedule == "step":
        return peak * 0.1 ** min(int(progress * milestones), milestones - 1)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "one_cycle":
        rising = 0.3
        if progress < rising:
            return _anneal(peak / 25, peak, progress / rising)
        return _anneal(peak, peak / 1e4, (progress - rising) / (1 - rising))
    return peak


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
