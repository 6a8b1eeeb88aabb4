"""Smaller .tflite files from a float one, through ai-edge-quantizer."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.quantizer import Quantizer

from exporters._tflite_file import read
from exporters._tflite_ranges import activation_ranges

_EVERYTHING = qtyping.TFLOperationName.ALL_SUPPORTED


def quantized(content: bytes, precision: str, calibration: np.ndarray | None) -> bytes:
    """The float file ``content`` at another precision; input and output keep their types.

    Weights get one scale per output channel. w8a8 quantizes every activation the quantizer can, CBAM's sigmoids and
    reductions too: keeping these, or the normalisation, in float changed the mAP of trained ALNets (CIFAR-10, MNIST) by
    less than 0.001 in either direction, and cost up to a fifth of the time.

    Args:
        precision: fp16, w8, w8a32 or w8a8.
        calibration: uint8 [N, H, W, 3], for w8a8.
    """
    quantizer = Quantizer(content)
    if precision == "fp16":
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        stored_half = qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        quantizer.update_quantization_recipe(".*", _EVERYTHING, stored_half, AlgorithmName.FLOAT_CASTING)
    elif precision == "w8":
        quantizer.add_weight_only_config(".*", _EVERYTHING, num_bits=8)
    elif precision == "w8a32":
        quantizer.add_dynamic_config(".*", _EVERYTHING, num_bits=8)
    else:
        quantizer.add_static_config(".*", _EVERYTHING, activation_num_bits=8, weight_num_bits=8)
        quantizer.update_quantization_recipe(
            ".*", qtyping.TFLOperationName.OUTPUT, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    statistics = None if calibration is None else _statistics(content, calibration)
    result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


def _statistics(content: bytes, calibration: np.ndarray) -> dict[str, Any]:
    """The ranges as the quantizer wants them: arrays of the activation's rank. Constants stay out, else they would get
    one scale for all channels."""
    (graph,) = read(content).subgraphs
    rank = {tensor.name.decode(): 0 if tensor.shape is None else len(tensor.shape) for tensor in graph.tensors}
    return {
        name: {"min": np.full([1] * rank[name], low, np.float32), "max": np.full([1] * rank[name], high, np.float32)}
        for name, (low, high) in activation_ranges(content, calibration).items()
    }
