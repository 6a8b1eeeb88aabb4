"""The parts of ``compress tune``: budget, search space, Pareto front, and what decides a trial's values and end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from compress.contracts import BadInput
from compress.recipe.tuning import Choices, Range, read_space
from compress.tune.budget import Budget
from compress.tune.outcome import Outcome, chosen, pareto_front
from compress.tune.search import search_space
from compress.tune.space import Space
from compress.tune.store import Store
from compress.tune.suggest import EarlyEnd, members, suggestions
from tests._command import compress_here

RECIPE = """
name: small
data: {{dataset: image_folder, root: "{root}", image_size: 32, validation_share: 0.3}}
model:
  {{architecture: alnet, widths: [16, 16, 24], strides: [2, 2, 1], expansions: [1, 3, 3], head_width: 64}}
train: {{epochs: 4, batch_size: 16, lr: 0.05, schedule: one_cycle}}
export:
  - onnx
  - torchscript: {{}}
tune: {tune}
"""


def measured(number: int, mean_ap: float, ms: float, size: int, **known: Any) -> Outcome:
    return Outcome(number, {}, "measured", mean_ap=mean_ap, ms=ms, bytes=size, **known)


def written(folder: Path, tune: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(RECIPE.format(root=folder, tune=tune), encoding="utf-8")
    return path


def test_a_budget_is_read_and_a_value_equal_to_its_limit_does_not_meet_it() -> None:
    budget = Budget.parse("ms<0.5, bytes<1.2e6")
    assert budget == Budget(0.5, 1.2e6)
    assert budget.meets(0.49, 1_199_999)
    assert not budget.meets(0.5, 1)
    assert not budget.meets(0.1, 1_200_000)
    assert Budget.parse("bytes<100").meets(1e9, 99)


@pytest.mark.parametrize(
    "text", ["", "ms", "ms<", "ms>1", "ms<0", "ms<1.2.3", "seconds<1", "ms<1,", "ms<1,ms<2", "ms<1e999"]
)
def test_a_budget_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    ended = compress_here("tune", written(tmp_path, "null"), "--budget", text)
    assert ended.code == 2
    assert f"--budget '{text}'" in ended.complaint


@pytest.mark.parametrize(
    ("tune", "complaint"),
    [
        ("{train.lrr: [0.1, 0.2]}", "train.lrr: unknown key; did you mean 'lr'"),
        ("{train.epochs: [2, many]}", "train.epochs: 'many' is wrong"),
        ("{export.3.onnx.precision: [fp32, w8a8]}", "'export' is a list of 1"),
        ("{train.lr: [0.1]}", "tune.train.lr: [0.1] must hold two values or more"),
        ("{train.lr: {low: 2, high: 1}}", "tune.train.lr: low must be below high"),
        ("{train.lr: 3}", "tune.train.lr: 3 must be a list of values, or {low"),
        ("{name: [a, b]}", "tune.name: cannot be tuned"),
    ],
)
def test_a_space_that_no_recipe_has_is_one_line(tmp_path: Path, tune: str, complaint: str) -> None:
    ended = compress_here("tune", written(tmp_path, tune), "--budget", "ms<1")
    assert ended.code == 2
    assert complaint in ended.complaint


def test_images_that_choose_must_not_be_those_that_test(tmp_path: Path) -> None:
    path = written(tmp_path, "{train.lr: [0.1, 0.2]}")
    ended = compress_here("tune", path, "--budget", "ms<1", "--set", "data.validation_share=0")
    assert ended.code == 2
    assert "would choose on the test images" in ended.complaint
    assert compress_here("tune", path, "--budget", "ms<1", "--time", "soon").complaint.startswith("--time soon")


def test_the_section_gives_choices_and_ranges(tmp_path: Path) -> None:
    tune = (
        "{train.lr: {low: 0.01, high: 0.1, log: true}, train.epochs: {low: 1, high: 3}, compress: [[], [whiten: {}]]}"
    )
    space, others, _ = search_space(written(tmp_path, tune), ["train.epochs=2"])
    assert space.parameters == (
        Range("train.lr", 0.01, 0.1, log=True),
        Range("train.epochs", 1, 3),
        Choices("compress", ([], [{"whiten": {}}])),
    )
    assert others == [{"torchscript": {}}]
    changed = space.with_values({"train.lr": 0.03, "train.epochs": 3, "compress": 1})
    assert changed["train"] == {"epochs": 3, "batch_size": 16, "lr": 0.03, "schedule": "one_cycle"}
    assert changed["compress"] == [{"whiten": {}}]
    assert changed["export"] == [{"onnx": {}}]
    assert space.own() == {"train.lr": 0.05, "train.epochs": 2}  # the recipe has no 'compress'
    assert read_space(None) == ()


def test_without_a_section_the_recipe_s_own_values_are_varied(tmp_path: Path) -> None:
    space, _, _ = search_space(written(tmp_path, "null"), [])
    by_key = {each.key: each for each in space.parameters}
    training = ("train.lr", "train.min_scale", "train.color_jitter")
    assert set(by_key) == {"data.image_size", "model", *training, "compress"}  # ONNX has one uncalibrated precision
    networks = by_key["model"]
    assert isinstance(networks, Choices)
    assert [value["architecture"] for value in networks.values].count("alnet") == 3
    assert networks.values[2]["widths"] == [8, 8, 16]  # half of 16, 16, 24, in multiples of 8 groups
    assert {"mobilenet_v2", "mobilenet_v3", "shufflenet_v2"} < {value["architecture"] for value in networks.values}
    assert space.own()["model"] == 0


def test_the_front_is_what_nothing_dominates() -> None:
    trials = [
        measured(0, 0.80, 1.0, 100),
        measured(1, 0.80, 0.9, 100),  # dominates 0
        measured(2, 0.70, 0.5, 120),  # faster
        measured(3, 0.60, 2.0, 50),  # smaller
        measured(4, 0.60, 2.0, 51),
        measured(5, 0.80, 0.9004, 100),  # the same time, measured again
        Outcome(6, {}, "over budget", ms=0.1, bytes=1),
        Outcome(7, {}, "stopped early", mean_ap=0.99, ms=0.1, bytes=1),
    ]
    # As an obvious loop has it.
    slow = [
        a.number
        for a in trials[:5]
        if not any(b.mean_ap >= a.mean_ap and b.ms <= a.ms and b.bytes <= a.bytes and b is not a for b in trials[:5])  # type: ignore[operator]
    ]
    assert sorted(each.number for each in pareto_front(trials)) == slow == [1, 2, 3]
    assert [each.number for each in pareto_front(list(reversed(trials)))] == [1, 2, 3]
    assert chosen(trials, Budget(ms=1.0)) == trials[1]
    assert chosen(trials, Budget(ms=0.6)) == trials[2]
    assert chosen(trials, Budget(bytes=60)) == trials[3]
    assert chosen(trials, Budget(ms=0.6, bytes=60)) is None


SPACE = Space({}, (Choices("a", ("x", "y", "z")), Range("b", 1, 4), Range("c", 0.1, 10.0, log=True)), "r.yaml")


def test_earlier_generations_and_the_number_alone_decide_the_values() -> None:
    earlier: list[tuple[Outcome, dict[str, Any]]] = [(measured(0, 0.5, 1.0, 9), {"a": 0, "b": 2, "c": 1.0})]
    for generation in (1, 2, 3):
        found = suggestions(SPACE, earlier, generation, Budget(ms=5.0), seed=0)
        assert len(found) == 4
        assert found == suggestions(SPACE, list(earlier), generation, Budget(ms=5.0), seed=0)
        earlier += [
            (measured(number, 0.1 * values["b"], 2.0 - 0.1 * number, 9), values)
            for number, values in zip(members(generation), found, strict=True)
        ]
    last = suggestions(SPACE, earlier, 4, Budget(ms=5.0), seed=0)
    # What was measured is used: with other results come other values; so it is with another seed.
    worse = [(dataclasses.replace(each, mean_ap=1 - (each.mean_ap or 0)), values) for each, values in earlier]
    assert suggestions(SPACE, worse, 4, Budget(ms=5.0), seed=0) != last
    assert suggestions(SPACE, earlier, 4, Budget(ms=5.0), seed=1) != last
    keys = [str(sorted(values.items())) for _, values in earlier]
    assert len(set(keys)) == len(keys) == 13


def test_a_small_space_is_tried_once() -> None:
    space = Space({}, (Choices("a", ("x", "y", "z")),), "r.yaml")
    found = suggestions(space, [(measured(0, 0.5, 1.0, 9), {"a": 1})], 1, Budget(), seed=0)
    assert sorted(values["a"] for values in found) == [0, 2]


def test_only_trials_that_cost_no_more_end_a_training() -> None:
    good = [measured(n, 0.8, 1.0, 100, reports={20: 0.5, 50: 0.7}) for n in range(3)]
    assert EarlyEnd(good, 1.0, 100)(50, 0.6)
    assert not EarlyEnd(good, 1.0, 100)(50, 0.75)
    assert not EarlyEnd(good, 0.5, 100)(50, 0.6)  # faster than all of them
    assert not EarlyEnd(good, 1.0, 99)(50, 0.6)  # smaller
    assert not EarlyEnd(good[:2], 1.0, 100)(50, 0.6)  # too few to judge
    assert not EarlyEnd(good, None, None)(50, 0.0)  # trial 0


def test_a_search_s_folder_is_not_taken_by_another_one(tmp_path: Path) -> None:
    space = Space({}, (Choices("a", ("x", "y")),), "r.yaml")
    store = Store(tmp_path / "search", {"budget": {"ms": 1.0}})
    outcome = Outcome(3, {"a": "y"}, "stopped early", mean_ap=0.25, ms=1.5, bytes=7, reports={50: 0.25})
    store.add(outcome, space, {"a": 1})
    again = Store(tmp_path / "search", {"budget": {"ms": 1.0}})
    assert again.finished() == {3: (outcome, {"a": 1})}
    with store.claimed(4) as mine, again.claimed(4) as theirs:
        assert (mine, theirs) == (True, False)
    with again.claimed(4) as theirs:
        assert theirs
    with pytest.raises(BadInput, match="another budget"):
        Store(tmp_path / "search", {"budget": {"ms": 2.0}})
    with pytest.raises(BadInput, match="no search made it"):
        Store(tmp_path, {})
