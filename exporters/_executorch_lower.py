"""Lower an exported program to ExecuTorch's file; runs in the environment of executorch, as a child process.

Of Compress, it may import what the child finds there without further libraries.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM, LOWERED, CALIBRATION = "program.pt2", "lowered.pte", "calibration.npy"
METADATA = "metadata"
"""The method of the file that returns its metadata, a JSON object as text."""


def lower(job: Mapping[str, Any], scratch: Path) -> None:
    """Read ``scratch``/``PROGRAM`` and write ``scratch``/``LOWERED``.

    Args:
        job: ``metadata``, the text that the method of this name returns; ``integers``, whether to quantize with the
            images of ``CALIBRATION``, uint8 [N, 3, H, W]; ``coreml``, the precision in which Core ML computes, or None
            for XNNPACK.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    program = torch.export.load(scratch / PROGRAM)
    if job["integers"]:
        program = _integers(program, scratch)
    edge = to_edge_transform_and_lower(
        program,
        partitioner=[_partitioner(job["coreml"])],
        constant_methods={METADATA: job["metadata"]},
        # ExecuTorch's own cast of the image is slower where an operation also carries the order of the axes.
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=job["coreml"] is None),
    )
    with (scratch / LOWERED).open("wb") as file:
        edge.to_executorch().write_to_file(file)


def _partitioner(coreml: str | None) -> Any:
    """What finds the parts of the program for the delegate, and writes them."""
    if coreml is not None:
        from exporters._executorch_coreml import partitioner

        return partitioner(coreml)
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return XnnpackPartitioner()


def _integers(program: Any, scratch: Path) -> Any:
    """Quantize to int8 weights, one scale per output channel, and int8 activations with the images' ranges."""
    import numpy as np
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    module = program.module()
    _unshare(module)
    prepared = prepare_pt2e(module, quantizer)
    images = np.load(scratch / CALIBRATION)
    with torch.no_grad():
        for number in range(len(images)):
            prepared(torch.from_numpy(images[number : number + 1]))
    return torch.export.export(convert_pt2e(prepared), (torch.from_numpy(images[:1]),))


def _unshare(module: Any) -> None:
    """Give each reader of shared weights a copy, because the quantizer leaves all readers but one in float.

    CBAM applies one perceptron twice. The file holds equal weights once.
    """
    import torch

    for node in list(module.graph.nodes):
        for number, reader in enumerate(list(node.users)[1:] if node.op == "get_attr" else (), start=1):
            value = module
            for part in str(node.target).split("."):
                value = getattr(value, part)
            name = f"{node.name}_{number}"
            module.register_parameter(name, torch.nn.Parameter(value.detach().clone(), requires_grad=False))
            with module.graph.inserting_before(reader):
                copy = module.graph.get_attr(name)
            copy.meta = node.meta.copy()
            reader.replace_input_with(node, copy)
    module.recompile()
