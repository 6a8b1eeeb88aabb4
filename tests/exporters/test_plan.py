"""Measured choices: the fastest form wins, a limit in bytes holds, and a recorded plan gives the same bytes again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp

from architectures import create_model
from compress.contracts import BadInput, Candidates, DeployGraph, Preprocess, Timer
from exporters import export_model, planned
from exporters._costs import ONNXRUNTIME, TORCH
from exporters._deploy import Deployed, rewritten
from exporters.onnx import Onnx
from exporters.rewrites._choice import Cheapest, Place
from exporters.rewrites._region import around
from exporters.torchscript import TorchScript
from tests.exporters.rewrites._networks import TOLERANCE, difference
from validators import run_artifact
from validators.timing import timer

SIZE = (24, 37)
SMALL: dict[str, Any] = {"stem_stride": 2, "widths": (16, 24), "strides": (2, 1), "expansions": (2, 2)}


def fastest(number: int) -> Timer:
    """Finds the form of this number fastest, and of two the more so the more forms there are."""

    def measure(groups: Sequence[Candidates]) -> list[list[float]]:
        return [[1.0 + (n - number % len(group.files)) ** 2 for n in range(len(group.files))] for group in groups]

    return measure


@pytest.fixture(scope="module")
def network(calibrate: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return calibrate(create_model("alnet", head_width=64, **SMALL), *SIZE)


@pytest.fixture(scope="module")
def graph(network: nn.Module) -> DeployGraph:
    metadata = {"name": "m", "version": "0", "license": "none"}
    return DeployGraph(Deployed(network, Preprocess(SIZE), "l2"), SIZE, metadata)


@pytest.mark.nightly
def test_the_form_that_measures_fastest_is_kept(graph: DeployGraph) -> None:
    met: dict[str, Place] = {}

    def remember(network: Any, rewrites: Any, places: Sequence[Place]) -> list[Place]:
        met.update({place.name: place for place in places})
        return list(places)

    for number in (0, -1):
        met.clear()
        plan = planned(TorchScript(optimize="measured"), graph, fastest(number)).plan
        assert plan is not None
        rewritten(graph, TORCH, Cheapest(price=remember))
        several = [place for place in met.values() if len(place.forms) > 1 and place.name in plan]
        assert len(several) >= 4
        assert all(plan[place.name] == place.forms[number].name for place in several)


@pytest.mark.nightly
def test_a_recorded_plan_gives_the_same_bytes_without_measuring(graph: DeployGraph, tmp_path: Path) -> None:
    measured = planned(TorchScript(optimize="measured"), graph, timer("torchscript"))
    measured.write(graph, tmp_path / "measured.pt")
    replayed = planned(TorchScript(plan=measured.plan), graph)  # has no timer
    replayed.write(graph, tmp_path / "replayed.pt")
    assert (tmp_path / "measured.pt").read_bytes() == (tmp_path / "replayed.pt").read_bytes()
    other = planned(TorchScript(optimize="measured"), graph, fastest(-1))
    other.write(graph, tmp_path / "other.pt")
    assert (tmp_path / "other.pt").read_bytes() != (tmp_path / "measured.pt").read_bytes()


@pytest.mark.nightly
def test_a_limit_in_bytes_is_kept_and_what_cannot_be_is_refused(graph: DeployGraph, tmp_path: Path) -> None:
    def size(**options: Any) -> int:
        path = tmp_path / "m.pt"
        planned(TorchScript(**options), graph, fastest(-1)).write(graph, path)
        return path.stat().st_size

    smallest, largest = size(optimize="size"), size(optimize="measured")
    assert largest > smallest + 4096
    middle = (smallest + largest) // 2
    found = size(optimize="measured", max_bytes=middle)
    assert smallest < found <= middle
    with pytest.raises(
        BadInput, match=r"^max_bytes: 1,000 is less than the smallest file takes, [\d,]+ bytes"
    ) as error:
        size(optimize="measured", max_bytes=1000)
    least = int(str(error.value).split("takes, ")[1].split(" bytes")[0].replace(",", ""))
    assert size(optimize="measured", max_bytes=least) <= least


def test_a_plan_of_another_network_is_refused(network: nn.Module, graph: DeployGraph, tmp_path: Path) -> None:
    plan = planned(TorchScript(max_bytes=10**9), graph).plan
    other = create_model(
        "alnet",
        head_width=64,
        **{**SMALL, "widths": (16, 24, 24), "strides": (2, 1, 1), "expansions": (2, 2, 2)},
        groups=4,
    )
    for wrong in (other.eval(), create_model("mobilenet_v1", width=0.25).eval()):
        with pytest.raises(BadInput, match=r"^plan: made for another network or version: .*; remove it$"):
            export_model(wrong, tmp_path / "m.pt", input_size=SIZE, plan=plan)
    export_model(network, tmp_path / "m.pt", input_size=SIZE, plan=plan)


def test_options_that_do_not_go_together(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="optimize: 'measured' needs a timer"):
        export_model(network, tmp_path / "m.pt", input_size=SIZE, optimize="measured")
    for option in ({"max_bytes": 10**6}, {"plan": {}}):
        with pytest.raises(BadInput, match=f"{next(iter(option))}: 'optimize: none' chooses nothing"):
            TorchScript(optimize="none", **option)  # type: ignore[arg-type]


class _Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.first(x)).mean((2, 3))
        return result


@pytest.mark.nightly
def test_onnx_measured_on_its_own_runtime(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = _Grouped().eval()
    images = torch.randint(0, 256, (3, 9, 7, 3), dtype=torch.uint8).numpy()
    measured = export_model(network, tmp_path / "m.onnx", input_size=(9, 7), optimize="measured", timer=timer("onnx"))
    straight = export_model(network, tmp_path / "s.pt", input_size=(9, 7), optimize="none")
    want, got = run_artifact(straight, images), run_artifact(measured, images)
    assert abs(want - got).max() < 1e-5 * abs(want).max()


@pytest.mark.every_change("alnet")
@pytest.mark.parametrize(
    ("name", "options"), [("alnet", SMALL), ("shufflenet_v1", {"groups": 3, "width": 0.5}), ("shufflenet_v2", {})]
)
def test_a_part_is_the_same_network_in_every_form(
    name: str, options: dict[str, Any], calibrate: Callable[..., nn.Module]
) -> None:
    """What is timed holds the place, and its forms differ in nothing but time."""
    torch.manual_seed(0)
    deployed = Deployed(calibrate(create_model(name, **options), *SIZE), Preprocess(SIZE), "l2")
    met = 0

    def check(network: Any, rewrites: Any, places: Sequence[Place]) -> list[Place]:
        nonlocal met
        for place in [place for place in places if len(place.forms) > 1][:4]:
            before = {key: value.clone() for key, value in network.state_dict().items()}
            plain, size = around(network, place.nodes)
            pixels = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
            for form in place.forms:
                part, _ = around(network, place.nodes)
                ShapeProp(part).propagate(pixels[:1])  # type: ignore[no-untyped-call]
                (same,) = (each for rule in rewrites for each in rule.places(part) if each.name == place.name)
                assert [each.added for each in same.forms] == [each.added for each in place.forms]
                next(each for each in same.forms if each.name == form.name).apply()
                part.recompile()
                assert difference(plain, part, pixels) < TOLERANCE
                met += 1
            assert len(list(part.graph.nodes)) < len(list(network.graph.nodes)) / 2
            assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
        return list(places)

    rewritten(DeployGraph(deployed, SIZE, {}), ONNXRUNTIME, Cheapest(price=check))
    assert met >= 2


def test_int8_files_keep_their_reductions() -> None:
    assert Onnx().costs.reductions and not Onnx(precision="w8a8").costs.reductions


def test_bundled_options_survive_the_recipe() -> None:
    exporter = Onnx(optimize="measured", max_bytes=4_000_000, plan={"shuffle:flatten": "move"})
    assert replace(Onnx(), **exporter.options()) == exporter
