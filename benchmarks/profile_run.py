"""Where ``compress run`` spends its time: ``python -m benchmarks.profile_run [RECIPE [KEY=VALUE ...]]``.

Runs the recipe, the quickstart by default, into a folder of its own and prints each step's share of the wall time.
Training, conversion and inference together should be at least 90 %. Time inside a step is the step's, whatever it
calls: a converter that loads is conversion, a child process that starts a runtime is inference.
"""

from __future__ import annotations

import builtins
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECIPE = Path(__file__).parent.parent / "recipes/quickstart.yaml"
START = time.perf_counter()
WORK = ("training", "conversion", "inference")


class Stopwatch:
    """Seconds by step; while one step runs, others called from it count for it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._running = False

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self._running:
                return function(*arguments, **options)
            self._running, start = True, time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._running = False
                self.seconds[step] += time.perf_counter() - start  # type: ignore[assignment]

        return call

    def watch(self, step: str, owner: Any, *names: str) -> None:
        for name in names:
            setattr(owner, name, self.timed(step, getattr(owner, name)))


def main(recipe_file: Path, changes: list[str]) -> None:
    watch = Stopwatch()
    watch.watch("loading libraries", builtins, "__import__")

    from compress import pipeline
    from compress.model import reference
    from compress.recipe import reader as recipe
    from compress.run import check_artifact, compatibility, controls, gallery, prepare, trial
    from validators import measure

    checked = recipe.load_recipe(recipe_file, changes)
    for _, stage in checked.stages:
        watch.watch("training", type(stage), "run")
    for kind in {type(exporter) for exporter in checked.exports}:
        watch.watch("conversion", kind, "write")
    watch.watch("inference", measure, "execute")
    watch.watch("inference", reference, "embed", "observe")
    watch.watch("inference", pipeline, "embed")
    watch.watch("inference", trial, "observe")
    watch.watch("inference", controls, "broken_outputs")
    watch.watch("inference", compatibility, "embed")
    for check in {type(check) for check in checked.validation.checks}:
        watch.watch("checks", check, "run")
    watch.watch("gallery, golden images and pictures", gallery, "write_gallery", "build_index")
    watch.watch("gallery, golden images and pictures", check_artifact, "write_worst")
    watch.watch("gallery, golden images and pictures", pipeline, "make_golden", "write_golden", "write_bundle")
    watch.watch("data", prepare, "load_data")
    with tempfile.TemporaryDirectory() as folder:
        pipeline.run(checked, Path(folder))
    total = time.perf_counter() - START
    watch.seconds["everything else"] = total - sum(watch.seconds.values())  # type: ignore[assignment]
    for step, seconds in watch.seconds.most_common():
        print(f"{step:36} {seconds:7.2f} s  {seconds / total:6.1%}")
    share = sum(watch.seconds[step] for step in WORK) / total
    print(f"{', '.join(WORK):36} {share * total:7.2f} s  {share:6.1%}  of {total:.1f} s (at least 90 %)")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RECIPE, sys.argv[2:])
