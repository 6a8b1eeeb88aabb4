"""Every format and precision of the folder: none can be written unchecked, or validated without limits."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_type_hints

import pytest
import torch
from torch import nn

from compress.contracts import BadInput, CompressError, DeployGraph, Exporter
from exporters._costs import Costs
from exporters._file_exporter import FileExporter, Inspected
from exporters._stored import Kind, Weighted, require
from exporters.coreml import CoreML
from exporters.torchscript import TorchScript
from tests._command import REPOSITORY
from tests._components import every, made_up
from validators import FORMATS
from validators.gates import default_limits

FLOAT = Kind("float32", "float32", "float32")


def precisions(exporter: type[Exporter]) -> tuple[str, ...]:
    return get_args(get_type_hints(exporter)["precision"])


def problems() -> Iterator[str]:
    """What is missing of a format, for all in the registry."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for exporter in every(Exporter):
        if not issubclass(exporter, FileExporter):
            yield f"{exporter.__name__}: is no FileExporter, so nothing reads its files back"
            continue
        for method in ("write", "details"):
            if getattr(exporter, method) is not getattr(FileExporter, method):
                yield f"{exporter.__name__}: has a {method} of its own, which can forget the stored types"
        for precision in sorted({*precisions(exporter), *exporter.stored, *exporter.calibrated}):
            if precision not in precisions(exporter):
                yield f"{exporter.__name__} {precision}: cannot be chosen"
            if precision not in exporter.stored:
                yield f"{exporter.__name__} {precision}: no rule says what its files store"
            try:
                default_limits(precision, exporter.format)
            except BadInput:
                yield f"{exporter.__name__} {precision}: no limits"
        if FORMATS.get(exporter.suffix) != exporter.format:
            yield f"{exporter.__name__}: validators knows no format '{exporter.format}' of {exporter.suffix} files"
        if not isinstance(exporter().costs, Costs):
            yield f"{exporter.__name__}: no costs for the rewrites"
        yield from (f"{exporter.__name__}: no extra '{extra}'" for extra in exporter.extras if extra not in extras)


def test_every_format_and_precision_has_all_it_needs() -> None:
    found = every(Exporter)
    assert len(found) >= 5
    assert sum(len(precisions(exporter)) for exporter in found) >= 18
    assert not list(problems())


def test_a_format_that_writes_by_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Plain(Exporter):
        def write(self, graph: DeployGraph, path: Path) -> None:
            path.write_bytes(b"")

    made_up(monkeypatch, Exporter, Plain)
    assert list(problems()) == ["Plain: is no FileExporter, so nothing reads its files back"]


def test_a_format_that_overrides_the_check_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Unchecked(TorchScript):
        def write(self, graph: DeployGraph, path: Path) -> None:
            self.convert(graph, path)

    made_up(monkeypatch, Exporter, Unchecked)
    assert list(problems()) == ["Unchecked: has a write of its own, which can forget the stored types"]


def test_a_precision_without_limits_or_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Finer(CoreML):
        precision: Literal["fp32", "fp16", "w8", "p8", "p6", "p4", "w4", "p2"] = "fp32"  # type: ignore[assignment]

    made_up(monkeypatch, Exporter, Finer)
    assert list(problems()) == ["Finer p2: no rule says what its files store", "Finer p2: no limits"]


def test_a_format_that_verify_does_not_know_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class New(TorchScript):
        suffix: ClassVar[str] = ".new"

    made_up(monkeypatch, Exporter, New)
    assert list(problems()) == ["New: validators knows no format 'torchscript' of .new files"]


def test_a_format_without_costs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Slow(TorchScript):
        runtime_costs: ClassVar[Any] = None

    made_up(monkeypatch, Exporter, Slow)
    assert list(problems()) == ["Slow: no costs for the rewrites"]


# ------------------------------------------------------------------------------------------- files that are not true


@dataclass(frozen=True, kw_only=True)
class Blind(TorchScript):
    """Finds no operation with weights, as a reader that does not know its file's newest operations."""

    def inspect(self, path: Path) -> Inspected:
        return Inspected(())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "p6"])
def test_a_file_without_weights_proves_nothing(precision: str) -> None:
    kinds = {precision: FLOAT}
    require([Weighted("w", 1, FLOAT)], precision, kinds, Path("m.pt"))
    with pytest.raises(CompressError, match=r"m\.pt: no weights of more than 0 values, so "):
        require([], precision, kinds, Path("m.pt"))


@pytest.mark.parametrize("precision", ["fp32", "w8"])
def test_what_cannot_be_read_back_is_not_published(precision: Literal["fp32", "w8"], tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    graph = DeployGraph(_Floats(network), (8, 8), {})
    TorchScript(precision=precision).write(graph, tmp_path / "m.pt")
    before = (tmp_path / "m.pt").read_bytes()
    with pytest.raises(CompressError, match="no weights of more than 0 values"):
        Blind(precision=precision).write(graph, tmp_path / "m.pt")
    assert (tmp_path / "m.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_a_network_that_only_pools_has_an_fp32_file_alone(tmp_path: Path) -> None:
    graph = DeployGraph(_Floats(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())), (8, 8), {})
    TorchScript().write(graph, tmp_path / "m.pt")
    with pytest.raises(CompressError, match="so w8 saves nothing; export fp32"):
        TorchScript(precision="w8").write(graph, tmp_path / "w8.pt")


class _Floats(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.network(image.float())
        return result
