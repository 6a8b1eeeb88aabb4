"""Export a network of code that is not tested here, before it is trained."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress.contracts import BadInput, CompressError, Exporter, MissingTool, Model
from compress.system.progress import say

if TYPE_CHECKING:
    from torch import nn

_TESTED = ("architectures", "compress", "torch")
"""Packages whose modules every exporter is tested with."""


def rehearse(exports: Sequence[Exporter], model: Model) -> None:
    """Write, execute and compare an fp32 file in each of the formats, if the network has modules of other packages.

    Operations that a converter lacks, or converts to something else, show with any weights.

    Raises:
        BadInput: a format cannot hold this network; the message gives the line of the recipe.
    """
    if not _is_foreign(model.network):
        return
    from exporters import deploy

    firsts: dict[str, tuple[int, Exporter]] = {}
    for number, exporter in enumerate(exports):
        firsts.setdefault(exporter.format, (number, exporter))
    graph = deploy(model, name="rehearsal", license="unspecified")
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        for number, exporter in firsts.values():
            say(f"rehearsal: {exporter.format}, before anything is trained")
            plain = dataclasses.replace(
                type(exporter)(), optimize="speed" if exporter.optimize == "measured" else exporter.optimize
            )
            try:
                plain.write(graph, Path(folder) / f"rehearsal{exporter.suffix}")
            except MissingTool:
                raise
            except CompressError as error:
                raise BadInput(f"export.{number}.{exporter.component_name()}: {error}") from error


def _is_foreign(network: nn.Module) -> bool:
    return any(type(module).__module__.partition(".")[0] not in _TESTED for module in network.modules())
