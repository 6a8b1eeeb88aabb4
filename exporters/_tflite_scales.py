"""Correct the integers of a quantized .tflite file: scales of weights so small that biases overflow, and paddings.

A bias has the scale of its input times that of the weights. Training and pruning leave channels whose weights are
nearly 0; their scale is so small that the integer of their bias overflows, and the channel becomes noise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporters._tflite_file import builtin, constant, packed, read
from exporters._tflite_stored import WEIGHTED

_LARGEST_BIAS = 2.0**30
_LEAST_RATIO = 2.0**-31
"""XNNPACK needs input scale x weight scale >= 2**-32 x output scale."""


def with_bounded_scales(content: bytes, original: bytes) -> bytes:
    """Raise the scales of weights that are too small, channel by channel, and round these channels again.

    Args:
        content: the file with int8 weights and activations.
        original: the float file from which it was made; its operations with weights are in the same order.
    """
    model, source = read(content), read(original)
    users = defaultdict(list)
    for operation, exact in zip(_weighted(model), _weighted(source), strict=True):
        users[operation.inputs[1]].append(_Use(model, operation, source, exact))
    changed = [_bound(model, number, uses) for number, uses in users.items()]
    changed.append(_round_paddings(model, source))
    return packed(model) if any(changed) else content


def _weighted(model: Any) -> list[Any]:
    return [each for each in model.subgraphs[0].operators if builtin(model, each) in WEIGHTED]


class _Use:
    """One operation of the quantized file, with the float weights and bias of the original."""

    def __init__(self, model: Any, operation: Any, source: Any, exact: Any) -> None:
        tensors, floats = model.subgraphs[0].tensors, source.subgraphs[0].tensors
        data, weights, result = (tensors[number] for number in (*operation.inputs[:2], operation.outputs[0]))
        self.bias = tensors[operation.inputs[2]] if len(operation.inputs) > 2 and operation.inputs[2] >= 0 else None
        self.weights = _floats(source, floats[exact.inputs[1]])
        self.shifts = None if self.bias is None else _floats(source, floats[exact.inputs[2]])
        all_int8 = {tensor.type for tensor in (data, weights, result)} == {schema.TensorType.INT8}
        known = self.weights is not None and (self.bias is None or self.shifts is not None)
        self.has_integers = all_int8 and known and constant(model, weights) is not None
        if self.has_integers:
            self.given, self.made = float(data.quantization.scale[0]), float(result.quantization.scale[0])

    def least(self, count: int) -> np.ndarray:
        """The smallest allowed scale of each of ``count`` channels."""
        least: np.ndarray = np.full(count, _LEAST_RATIO * self.made / self.given)
        if self.shifts is None:
            return least
        needed = np.abs(self.shifts) / self.given / _LARGEST_BIAS
        bounded: np.ndarray = np.maximum(least, needed if len(needed) == count else needed.max())
        return bounded

    def round_bias(self, model: Any, scales: np.ndarray) -> None:
        if self.bias is None or self.shifts is None:
            return
        steps = self.given * scales.astype(np.float64)
        self.bias.quantization.scale = steps.astype(np.float32).tolist()
        _set(model, self.bias, np.round(self.shifts / steps).astype(np.int32))


def _bound(model: Any, number: int, uses: Sequence[_Use]) -> bool:
    """Bound the scales of the weights with this number; returns whether any was too small."""
    if not all(use.has_integers for use in uses):
        return False
    weights, exact = model.subgraphs[0].tensors[number], uses[0].weights
    assert exact is not None
    scales = np.asarray(weights.quantization.scale, np.float64)
    least = np.max([use.least(len(scales)) for use in uses], axis=0)
    if (scales >= least).all():
        return False
    scales = np.maximum(scales, least).astype(np.float32)
    axis = weights.quantization.quantizedDimension if len(scales) > 1 else 0
    shape = [-1 if place == axis else 1 for place in range(len(weights.shape))]
    rounded = np.round(exact.reshape(weights.shape) / scales.reshape(shape))
    _set(model, weights, np.clip(rounded, -127, 127).astype(np.int8))
    weights.quantization.scale = scales.tolist()
    for use in uses:
        use.round_bias(model, scales)
    return True


def _round_paddings(model: Any, source: Any) -> bool:
    """Write the integers of paddings, which the quantizer leaves at another scale; returns whether there are any."""
    found = False
    for operation, exact in zip(_padding(model), _padding(source), strict=True):
        padding = model.subgraphs[0].tensors[operation.inputs[2]]
        value = _floats(source, source.subgraphs[0].tensors[exact.inputs[2]])
        if value is None or padding.type != schema.TensorType.INT8:
            continue
        scale, zero = padding.quantization.scale[0], padding.quantization.zeroPoint[0]
        _set(model, padding, np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8))
        found = True
    return found


def _padding(model: Any) -> list[Any]:
    return [each for each in model.subgraphs[0].operators if builtin(model, each) == schema.BuiltinOperator.PADV2]


def _floats(model: Any, tensor: Any) -> np.ndarray | None:
    values = constant(model, tensor)
    return None if values is None else values.view(np.float32).astype(np.float64)


def _set(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Give the tensor a buffer of its own, as others may read the old one."""
    model.buffers.append(schema.BufferT())
    tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = values.reshape(-1).view(np.uint8)
