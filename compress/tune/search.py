"""``compress tune``: try recipes within a budget, and write the one to take."""

from __future__ import annotations

import copy
import dataclasses
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.contracts import BadInput, MissingTool
from compress.recipe.overrides import parse_yaml
from compress.recipe.reader import Recipe, load_document, parse_recipe
from compress.recipe.tuning import Choices, read_space
from compress.system.files import json_sha256, write_text
from compress.system.progress import say
from compress.tune.budget import Budget
from compress.tune.defaults import default_space
from compress.tune.outcome import Outcome, chosen
from compress.tune.page import write_page
from compress.tune.space import Space
from compress.tune.store import Store
from compress.tune.suggest import generation_of, members, require_optuna, suggestions
from compress.tune.trial import Reference, Trial, require_measurable

CHOSEN = "chosen.yaml"
_WAIT_S = 1.0
_TIME = re.compile(r"(\d+(?:\.\d+)?)(h|m|min|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        outcomes: every finished trial, by number; the first one is the recipe as it is.
        chosen: the trial to take; None if the search has not yet found one within the budget.
        recipe: the file of its recipe.
        report: the page.
        finished: whether all trials were made.
    """

    outcomes: tuple[Outcome, ...]
    chosen: Outcome | None
    recipe: Path | None
    report: Path
    finished: bool


def seconds(text: str) -> float:
    """Read ``2h``, ``30m`` or ``90s``. Raises BadInput for something else."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"--time {text}: write a number and h, m or s, such as 2h or 30m")
    return float(match[1]) * _SECONDS[match[2]]


def search_space(path: Path, overrides: Sequence[str]) -> tuple[Space, list[Any], Recipe]:
    """What is searched, the recipe's further exports, and the recipe itself, checked.

    Raises:
        BadInput: one line with everything that is wrong in the recipe or its section ``tune``.
    """
    document = load_document(path, overrides)
    recipe = parse_recipe(document, str(path))
    parameters = read_space(document.pop("tune", None))
    require_measurable(recipe)
    exports = [{each: {}} if isinstance(each, str) else each for each in document["export"]]
    document = {**copy.deepcopy(document), "export": exports[:1]}
    recipe = parse_recipe(document, str(path))
    space = Space(document, parameters or default_space(recipe, document), str(path))
    space.check()
    return space, exports[1:], recipe


def tune(
    path: Path, overrides: Sequence[str], budget: Budget, *, trials: int, time_s: float | None, out: Path | None
) -> Found:
    """Run trials until ``trials`` are finished or ``time_s`` is over; finished ones are reused.

    Args:
        out: the search's folder; ``runs/<recipe name>-tune`` by default. Other processes may work in it at once.

    Raises:
        BadInput: the recipe, its section ``tune`` or the folder cannot be used, or no trial met the budget.
        MissingTool: Optuna, or what the recipe needs, is not installed.
    """
    started = time.monotonic()
    require_optuna()
    space, others, recipe = search_space(path, overrides)
    folder = out or Path("runs") / f"{recipe.name}-tune"
    identity = {
        "recipe or tune section": json_sha256([space.document, [repr(each) for each in space.parameters]]),
        "budget": dataclasses.asdict(budget),
    }
    store = Store(folder, identity)
    for each in space.parameters:
        values = ", ".join(each.names) if isinstance(each, Choices) else f"{each.low:g} to {each.high:g}"
        say(f"tune: {each.key}: {values}")
    search = _Search(space, store, budget, recipe.seed)
    while not (over := search.exhausted(trials)) and (time_s is None or time.monotonic() - started < time_s):
        if not search.advance(trials):
            time.sleep(_WAIT_S)  # other processes hold the rest of the generation
    return _concluded(space, store, budget, others, finished=over)


class _Search:
    def __init__(self, space: Space, store: Store, budget: Budget, seed: int) -> None:
        self._space, self._store, self._budget, self._seed = space, store, budget, seed

    def exhausted(self, trials: int) -> bool:
        """Whether ``trials`` are finished, or everything was tried."""
        return not self._open(trials)

    def advance(self, trials: int) -> bool:
        """Run one trial that no other process works on; False if there is none now."""
        for number, values in self._open(trials).items():
            with self._store.claimed(number) as own:
                finished = self._store.finished()
                if not own or number in finished:
                    continue
                self._run(number, values, [each for each, _ in finished.values()])
                return True
        return False

    def _open(self, trials: int) -> dict[int, dict[str, Any]]:
        """The unfinished trials of the first generation that has some, by number, with their values."""
        finished = self._store.finished()
        generation = 0
        while members(generation).start < trials:
            numbers = [number for number in members(generation) if number < trials]
            if not all(number in finished for number in numbers):
                earlier = [finished[number] for number in range(members(generation).start) if number in finished]
                found = suggestions(self._space, earlier, generation, self._budget, self._seed)
                # Fewer values than numbers: everything was tried.
                return {n: values for n, values in zip(numbers, found, strict=False) if n not in finished}
            generation += 1
        return {}

    def _run(self, number: int, values: dict[str, Any], finished: Sequence[Outcome]) -> None:
        shown = self._space.shown(values)
        say(f"tune: trial {number}: {', '.join(f'{k} {v}' for k, v in shown.items()) if number else 'as it is'}")
        earlier = [each for each in finished if generation_of(each.number) < generation_of(number)]
        try:
            recipe = parse_recipe(self._space.with_values(values), f"trial {number}")
        except (BadInput, MissingTool) as error:
            outcome = Outcome(number, shown, "refused", reason=str(error))
        else:
            trial = Trial(recipe, self._store.trial_folder(number), number, shown, self._budget)
            outcome = trial.run(earlier, self._reference(finished) if number else None)
        self._store.add(outcome, self._space, values)
        say(f"tune: trial {number}: {described(outcome)}")

    def _reference(self, finished: Sequence[Outcome]) -> Reference:
        first = finished[0]
        assert first.ms is not None
        (file,) = (self._store.trial_folder(0) / "artifacts").iterdir()
        return Reference(file, parse_recipe(self._space.with_values(self._space.own()), "trial 0").data.size, first.ms)


def described(outcome: Outcome) -> str:
    """One trial's numbers and, if it was not measured, the reason."""
    numbers = [
        *([f"mAP {outcome.mean_ap:.4f}"] if outcome.mean_ap is not None else []),
        *([f"{outcome.ms:.3g} ms"] if outcome.ms is not None else []),
        *([f"{outcome.bytes:,} bytes"] if outcome.bytes is not None else []),
    ]
    why = "" if outcome.state == "measured" else outcome.state + (f" ({outcome.reason})" if outcome.reason else "")
    return ", ".join([*([why] if why else []), *numbers])


def _concluded(space: Space, store: Store, budget: Budget, others: list[Any], *, finished: bool) -> Found:
    outcomes = tuple(outcome for outcome, _ in store.finished().values())
    best, recipe = chosen(outcomes, budget), None
    if best is not None:
        recipe = store.folder / CHOSEN
        write_text(recipe, _whole_recipe(best, others, space.source))
    page = write_page(store.folder, str(space.document["name"]), outcomes, best, budget)
    if best is None and finished:
        raise BadInput(f"--budget: none of {len(outcomes)} trials met it{_nearest(outcomes, budget)}; allow more")
    return Found(outcomes, best, recipe, page, finished)


def _whole_recipe(best: Outcome, others: Sequence[Any], source: str) -> str:
    """The trial's recipe with the recipe's further exports; none of them twice."""
    assert best.recipe is not None
    document = parse_yaml(best.recipe)
    for entry in others:
        try:
            document = dict(parse_recipe({**document, "export": [*document["export"], entry]}, source).resolved)
        except BadInput:  # the format and precision that was chosen
            say(f"tune: the export {entry} would be the chosen file again, and is left out")
    return parse_recipe(document, source).to_yaml()


def _nearest(outcomes: Sequence[Outcome], budget: Budget) -> str:
    known = [each for each in outcomes if each.ms is not None and each.bytes is not None]
    if not known:
        return ""
    nearest = min(known, key=lambda each: max(budget.excess(each.ms, each.bytes).values(), default=0.0))
    return f"; the nearest was trial {nearest.number} with {nearest.ms:.3g} ms and {nearest.bytes:,} bytes"
