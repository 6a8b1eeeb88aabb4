"""Optuna's sampler and pruner, called so that a trial's number and the trials before it decide everything.

A trial belongs to a generation; its values follow from the trials of earlier generations alone. So several processes
can work on one generation, and a search that was killed continues as if it had not been.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.contracts import MissingTool
from compress.recipe.tuning import Choices
from compress.tune.budget import Budget
from compress.tune.outcome import Outcome
from compress.tune.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

GENERATION = 4
"""Trials that do not know of each other; the first one, the recipe as it is, is alone."""
_AT_RANDOM = 8
"""Trials that are drawn at random before the sampler learns from them."""
_TRIES = 200
_LEAST_TRIALS, _PERCENTILE = 3, 50.0
_WORST = 1e12
_SAME_TIME = 1.1
"""Times up to this factor may be those of one network, measured twice."""


def require_optuna() -> None:
    """Raises MissingTool if Optuna is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingTool(
            'tune needs optuna, not installed here; install it with: pip install "compress-retrieval[tune]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def generation_of(number: int) -> int:
    return 0 if number == 0 else 1 + (number - 1) // GENERATION


def members(generation: int) -> range:
    """The numbers of a generation's trials."""
    return range(1) if generation == 0 else range(1 + (generation - 1) * GENERATION, 1 + generation * GENERATION)


def suggestions(
    space: Space, earlier: Sequence[tuple[Outcome, Mapping[str, Any]]], generation: int, budget: Budget, seed: int
) -> list[dict[str, Any]]:
    """The values of a generation's trials, as ``Space.with_values`` takes them; fewer if everything was tried.

    Args:
        earlier: all trials of earlier generations, by number, each with its values.
    """
    if generation == 0:
        return [space.own()]
    known = {_key(values) for _, values in earlier}
    told = [_told(space, outcome, values, budget) for outcome, values in earlier]
    found = []
    for number in members(generation):
        for attempt in range(_TRIES):
            values = _asked(space, told, [seed, number, attempt])
            if _key(values) not in known:
                known.add(_key(values))
                found.append(values)
                break
    return found


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _asked(space: Space, told: Sequence[FrozenTrial], seed: Sequence[int]) -> dict[str, Any]:
    """One trial's values by Optuna's TPE for three objectives and the budget as constraint."""
    import optuna

    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(n_startup_trials=_AT_RANDOM, seed=number)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
    study.add_trials(told)
    return dict(study.ask(_distributions(space)).params)


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for each in space.parameters:
        if isinstance(each, Choices):
            found[each.key] = CategoricalDistribution(tuple(range(len(each.values))))
        elif each.whole:
            found[each.key] = IntDistribution(int(each.low), int(each.high), log=each.log, step=int(each.step or 1))
        else:
            found[each.key] = FloatDistribution(each.low, each.high, log=each.log, step=each.step)
    return found


def shown_to_optuna(space: Space, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The parameters and distributions of a trial as Optuna's own tools are to show it, choices by their text."""
    from optuna.distributions import CategoricalDistribution

    texts = {each.key: each.names for each in space.parameters if isinstance(each, Choices)}
    distributions = {key: each for key, each in _distributions(space).items() if key in values}
    params = {key: texts[key][values[key]] if key in texts else values[key] for key in distributions}
    return params, {k: CategoricalDistribution(texts[k]) if k in texts else d for k, d in distributions.items()}


def _told(space: Space, outcome: Outcome, values: Mapping[str, Any], budget: Budget) -> FrozenTrial:
    """A trial as the sampler is to see it: one that was not measured has the worst mAP, and breaks a constraint."""
    import optuna

    known = {key: distribution for key, distribution in _distributions(space).items() if key in values}
    costs = (outcome.ms, outcome.bytes)
    constraints = {"ms": -1.0, "bytes": -1.0, **budget.excess(*costs)}
    constraints["usable"] = 1.0 if outcome.state == "refused" else -1.0
    return optuna.trial.create_trial(
        params={key: values[key] for key in known},
        distributions=known,
        values=[outcome.mean_ap or 0.0, *(_WORST if cost is None else float(cost) for cost in costs)],
        constraints=constraints,
    )


class EarlyEnd:
    """Decides whether a training goes on: Optuna's percentile pruner among trials of earlier generations.

    Only trials that cost no more than this one count: a small network may well be worse than a large one. A trial ends
    if more than half of them were better at the same share of their training.
    """

    def __init__(self, earlier: Sequence[Outcome], ms: float | None, size: int | None) -> None:
        """``ms`` and ``size`` are the costs of this trial's file; with None nothing ends it."""
        import optuna

        pruner = optuna.pruners.PercentilePruner(_PERCENTILE, n_startup_trials=_LEAST_TRIALS, n_warmup_steps=20)
        self._study = optuna.create_study(direction="maximize", pruner=pruner)
        for each in earlier:
            if each.state != "measured" or each.ms is None or each.bytes is None or ms is None or size is None:
                continue
            if each.ms <= _SAME_TIME * ms and each.bytes <= size:
                self._study.add_trial(
                    optuna.trial.create_trial(value=each.mean_ap, intermediate_values=dict(each.reports))
                )
        self._trial = self._study.ask()

    def __call__(self, step: int, mean_ap: float) -> bool:
        """Whether the training is to end, after ``step`` percent of it, with this best validation mAP."""
        with _quiet():
            self._trial.report(mean_ap, step)
        return bool(self._trial.should_prune())


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns when a step is reported again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
