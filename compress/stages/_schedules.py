"""Learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["step", "cosine", "one_cycle", "constant"]


def learning_rate(schedule: Schedule, peak: float, step: int, total: int, *, milestones: int = 3) -> float:
    """The learning rate before optimizer step ``step`` of ``total`` (0-based).

    - ``step``: split the run into ``milestones`` equal parts and divide the rate by 10 at the start of every part but
      the first; 3 parts are OMCBIR's released schedule (x0.1 every 66 of 200 epochs).
    - ``cosine``: half a cosine from ``peak`` to 0 (Loshchilov & Hutter 2017, without restarts).
    - ``one_cycle``: cosine from peak/25 up to ``peak`` over 30 % of the run, then down to peak/10,000 (Smith &
      Topin 2018, the annealing of torch's OneCycleLR, momentum kept constant).
    - ``constant``: ``peak``.
    """
    progress = step / total
    if schedule == "step":
        return peak * 0.1 ** min(int(progress * milestones), milestones - 1)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "one_cycle":
        warm_up = 0.3
        if progress < warm_up:
            return _anneal(peak / 25, peak, progress / warm_up)
        return _anneal(peak, peak / 1e4, (progress - warm_up) / (1 - warm_up))
    return peak


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
