"""Show what was pruned: sizes step by step, channels layer by layer, and the sensitivity of each layer."""

from __future__ import annotations

from dataclasses import dataclass

from compress.report.charts import Table
from compress.report.numbers import score
from compress.report.source import Source


@dataclass(frozen=True)
class Layer:
    """A convolution that lost output channels."""

    name: str
    before: int
    after: int

    @property
    def kept(self) -> float:
        return self.after / self.before


@dataclass(frozen=True)
class Pruning:
    """The tables of the section on pruning.

    Attributes:
        steps: sizes before and after each step.
        layers: the pruned layers, in the network's order.
        sensitivity: effect of pruning each layer alone; None if it was not measured.
    """

    steps: Table
    layers: tuple[Layer, ...]
    sensitivity: Table | None


def pruning(source: Source) -> Pruning | None:
    """Make the tables; None if nothing was pruned."""
    lines = [line for line in source.metrics if line.get("stage") == "prune"]
    steps = [line for line in lines if "params_before" in line]
    probed = [line for line in lines if "sensitivity" in line]
    widths = source.manifest.architecture.pruned
    if not steps and not widths:
        return None
    return Pruning(
        Table(
            "Sizes before and after each step",
            ("step", "parameters", "MACs"),
            tuple(
                (str(line["step"]), *(_shrunk(line[f"{what}_before"], line[what]) for what in ("params", "macs")))
                for line in steps
            ),
        ),
        tuple(Layer(name, before, after) for name, (before, after) in widths.items()),
        Table(
            "Each layer pruned alone, without training",
            ("layer", "channels removed", "accuracy before", "accuracy after", "mean cosine"),
            tuple(
                (
                    line["sensitivity"],
                    f"{line['removed']} of {line['channels']}",
                    score(line["accuracy_before"]),
                    score(line["accuracy"]),
                    score(line["mean_cosine"]),
                )
                for line in probed
            ),
        )
        if probed
        else None,
    )


def _shrunk(before: float, after: float) -> str:
    return f"{before:,} → {after:,} ({after / before - 1:+.0%})"
