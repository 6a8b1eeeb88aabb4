"""Compressed weights for Core ML, through coremltools' own passes; no calibration images are needed."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import torch

from exporters._palette import palette

_BLOCK = 32


def add_compression(
    passes: ct.PassPipeline,
    precision: str,
    program: torch.export.ExportedProgram,
    spared: int,
    in_half: Collection[str],
) -> frozenset[str]:
    """Append to ``passes`` the pass that stores weights in the precision: w8, p8, p6, p4 or w4.

    The pass runs inside the conversion. If it were applied to a finished model, coremltools would convert it again with
    its default passes, of which one changes the normalisation (see CoreML).

    Args:
        program: the program that will be converted.
        spared: weights of at most this many values stay in half precision.
        in_half: names of further weights that stay in half precision.

    Returns:
        Names of larger weights that also stay in half precision.
    """
    config: Any
    own: dict[str, Any] = {}
    if precision.startswith("p"):
        nearest = partial(palette, bits=int(precision[1:]))
        name, config = "palettize_weights", cto.OpPalettizerConfig(mode="custom", lut_function=nearest)
        own = dict.fromkeys(_mostly_zero(program, spared))
    elif precision == "w8":
        name, config = "linear_quantize_weights", cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
    else:
        name, config = "linear_quantize_weights", _int4(_BLOCK)
        own = {weights: _int4(block) for weights, block in _blocks(program).items()}
    own |= dict.fromkeys(in_half)
    optimization = cto.OptimizationConfig(global_config=config, op_name_configs=own)
    passes.append_pass(f"compression::{name}")
    passes.set_options(f"compression::{name}", {"config": optimization})
    return frozenset(weights for weights, option in own.items() if option is None)


def half_names(program: torch.export.ExportedProgram, layers: Collection[str]) -> dict[str, str]:
    """Layers, as far as the program has them -> the names that their weights get in half precision."""
    names = {parameter: name for name, parameter in program.graph_signature.inputs_to_parameters.items()}
    return {layer: f"{names[f'{layer}.weight']}_to_fp16" for layer in layers if f"{layer}.weight" in names}


def _int4(block: int) -> cto.OpLinearQuantizerConfig:
    return cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=block)


def _blocks(program: torch.export.ExportedProgram) -> dict[str, int]:
    """Find block sizes: name that weights get in half precision -> largest divisor of the input channels up to 32.

    If the block does not divide the input channels, as in most grouped convolutions, coremltools does not compress.
    """
    return {
        name: max(block for block in range(1, _BLOCK + 1) if weights.shape[1] % block == 0)
        for name, weights in _weights(program).items()
        if weights.dim() > 1
    }


def _mostly_zero(program: torch.export.ExportedProgram, spared: int) -> list[str]:
    """Names of weights that are large only because a rewrite wrote zeros between the groups of a small layer.

    They stay in half precision: rounding the few weights of early layers changes ALNet's embeddings more than rounding
    all others together.
    """
    return [
        name
        for name, weights in _weights(program).items()
        if weights.numel() > spared and int(weights.count_nonzero()) <= spared
    ]


def _weights(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """The parameters by the names that they get in half precision."""
    parameters = program.graph_signature.inputs_to_parameters
    return {f"{name}_to_fp16": program.state_dict[parameter] for name, parameter in parameters.items()}
