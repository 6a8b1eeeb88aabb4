"""Compressed weights for Core ML, through coremltools' own passes; no calibration images are needed."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import torch

SPARED = 2048
"""Weights of at most so many values stay in half precision: coremltools' default, below which a table costs more."""


_BLOCK = 32


def add_compression(passes: ct.PassPipeline, precision: str, program: torch.export.ExportedProgram) -> None:
    """Append to ``passes`` the one that stores weights as ``precision`` says: w8, p8, p6, p4 or w4.

    Run inside the conversion: applied to a finished model, coremltools converts it a second time with its default
    passes, of which one changes the normalisation (see CoreML).

    Args:
        program: what will be converted.
    """
    config: Any
    own: dict[str, Any] = {}
    if precision.startswith("p"):
        name, config = "palettize_weights", cto.OpPalettizerConfig(mode="kmeans", nbits=int(precision[1:]))
    elif precision == "w8":
        name, config = "linear_quantize_weights", cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
    else:
        name, config = "linear_quantize_weights", _int4(_BLOCK)
        own = {weights: _int4(block) for weights, block in _blocks(program).items()}
    optimization = cto.OptimizationConfig(global_config=config, op_name_configs=own)
    passes.append_pass(f"compression::{name}")
    passes.set_options(f"compression::{name}", {"config": optimization})


def _int4(block: int) -> cto.OpLinearQuantizerConfig:
    return cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=block)


def _blocks(program: torch.export.ExportedProgram) -> dict[str, int]:
    """The largest divisor of the input channels up to 32, by the name that weights get in half precision.

    With a block that does not divide them, as in most grouped convolutions, coremltools leaves weights as they are.
    """
    shapes = {
        name: program.state_dict[parameter].shape
        for name, parameter in program.graph_signature.inputs_to_parameters.items()
    }
    return {
        f"{name}_to_fp16": max(block for block in range(1, _BLOCK + 1) if shape[1] % block == 0)
        for name, shape in shapes.items()
        if len(shape) > 1
    }
