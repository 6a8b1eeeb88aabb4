"""Make smaller .tflite files from a float one with ai-edge-quantizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.quantizer import Quantizer

from compress.contracts import DeployGraph
from exporters._float_weights import FloatLayers
from exporters._learned_ranges import match, probes, summary
from exporters._mixed import FloatKind, MixedPrecision, counted
from exporters._tflite_file import builtin, read
from exporters._tflite_maxima import with_integer_maxima
from exporters._tflite_ranges import activation_ranges, fingerprints, with_finite_paddings
from exporters._tflite_scales import with_bounded_scales
from exporters._tflite_stored import WEIGHTED, stored
from exporters._tflite_weights import results_of, weights_of

_EVERYTHING = qtyping.TFLOperationName.ALL_SUPPORTED

KINDS: Mapping[FloatKind, Sequence[str]] = {
    "sigmoid": ("LOGISTIC",),
    "mean": ("MEAN", "SUM", "AVERAGE_POOL_2D"),
    "mul": ("MUL", "DIV"),
    "add": ("ADD", "SUB"),
    "concat": ("CONCATENATION",),
    "hard_swish": ("HARD_SWISH",),
}
"""The names, in the file and in the quantizer, of the operations of each kind that can stay in float."""

_PRODUCTS = WEIGHTED | {schema.BuiltinOperator.BATCH_MATMUL, schema.BuiltinOperator.TRANSPOSE_CONV}

Ranges = Mapping[str, tuple[float, float]]

_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def smaller(content: bytes, precision: str, float_layers: FloatLayers) -> tuple[bytes, dict[str, Any], frozenset[str]]:
    """Convert the float file ``content`` to fp16, w8 or w8a32, but keep these layers' weights in float.

    Returns:
        The file, metadata about the layers, and the names of the weights that it holds in float for them.
    """
    found = weights_of(content, float_layers.weights)
    result = converted(content, precision, in_float=found)
    in_float = {each.name for each in stored(result) if each.kind.weights == "float32"}
    kept = {name: layers for name, layers in found.items() if name in in_float}
    return result, float_layers.record({layer for layers in kept.values() for layer in layers}), frozenset(kept)


def converted(content: bytes, precision: str, *, in_float: Collection[str] = ()) -> bytes:
    """Convert the float file ``content`` to fp16, w8 or w8a32; weights get one scale per output channel.

    Input and output keep their types, here and in the other functions.

    Args:
        in_float: names of weights that stay in float.
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
    else:
        assert precision == "w8a32"
        quantizer.add_dynamic_config(".*", _EVERYTHING, num_bits=8)
    for result in results_of(content, in_float):  # the quantizer knows operations by the names of their results
        scope = f"^{re.escape(result)};$"
        quantizer.update_quantization_recipe(scope, _EVERYTHING, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return _written(quantizer, None)


def integers(content: bytes, graph: DeployGraph, exporter: MixedPrecision) -> tuple[bytes, dict[str, Any]]:
    """Quantize the float file ``content`` to w8a8; also returns the record of how.

    Ranges learnt in training replace those of the calibration images if the file has a tensor for them.
    """
    images = graph.calibration
    assert images is not None
    matched = match(graph.learned, fingerprints(content, probes(images)) if graph.learned else {})
    ranges = activation_ranges(content, images, {name: (each.low, each.high) for name, each in matched.items()})
    content = with_finite_paddings(content, ranges)
    model = read(content)
    operations = [_NAMES[builtin(model, operation)] for operation in model.subgraphs[0].operators]
    kept, choice = exporter.kept_float(
        counted(operations, KINDS),
        lambda some: _embedded(content, some),
        lambda kind, some: _embedded(quantized(content, ranges, alone=kind), some),
        images,
    )
    result = quantized(content, ranges, in_float=kept)
    return result, {**summary(graph.learned, matched, _steps(result)), **choice}


def quantized(
    content: bytes, ranges: Ranges, *, in_float: Sequence[FloatKind] = (), alone: FloatKind | None = None
) -> bytes:
    """Quantize the float file to int8 weights, one scale per output channel, and int8 activations of these ranges.

    Every activation that the quantizer supports is quantized, also CBAM's sigmoids and means: keeping these, or the
    normalisation, in float changed the mAP of trained ALNets (CIFAR-10, MNIST) by less than 0.001 in either direction,
    and took up to a fifth more time. Divisions stay in float, as ``_divisions`` says.

    Args:
        ranges: tensor name -> range, for every float activation.
        in_float: kinds of operations that keep computing in float.
        alone: the only kind of operations to quantize.
    """
    quantizer = Quantizer(content)
    for name in [_EVERYTHING] if alone is None else _operations(alone):
        quantizer.add_static_config(".*", name, activation_num_bits=8, weight_num_bits=8)
    for name in [qtyping.TFLOperationName.OUTPUT, *(name for kind in in_float for name in _operations(kind))]:
        quantizer.update_quantization_recipe(".*", name, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for result, name in _divisions(content).items():
        scope = f"^{re.escape(result)};$"
        quantizer.update_quantization_recipe(scope, name, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return with_integer_maxima(with_bounded_scales(_written(quantizer, _statistics(content, ranges)), content))


def _divisions(content: bytes) -> dict[str, qtyping.TFLOperationName]:
    """The tensors of divisions by computed values, of inverse square roots, and of what computes their divisors alone.

    A small divisor, which a network keeps from 0 by adding or comparing with a constant, has the integer of 0. TFLite's
    integer kernels then stop the whole inference; a division in float by that integer would give infinity.

    Returns:
        Each tensor with the name of the operation that gives it.
    """
    model = read(content)
    (graph,) = model.subgraphs
    makers = {number: operation for operation in graph.operators for number in operation.outputs}
    readers = Counter(number for operation in graph.operators for number in set(operation.inputs))
    found = {}

    def add(number: int) -> None:
        name = _NAMES[builtin(model, makers[number])]
        if name in qtyping.TFLOperationName.__members__:
            found[graph.tensors[number].name.decode()] = qtyping.TFLOperationName(name)

    for operation in graph.operators:
        name = _NAMES[builtin(model, operation)]
        if name not in ("DIV", "RSQRT") or operation.inputs[-1] not in makers:
            continue
        add(operation.outputs[0])
        open_numbers = [operation.inputs[-1]]
        while open_numbers:
            number = open_numbers.pop()
            if number in makers and readers[number] == 1 and builtin(model, makers[number]) not in _PRODUCTS:
                add(number)
                open_numbers.extend(makers[number].inputs)
    return found


def _operations(kind: FloatKind) -> list[qtyping.TFLOperationName]:
    return [qtyping.TFLOperationName(name) for name in KINDS[kind]]


def _written(quantizer: Quantizer, statistics: Any) -> bytes:
    result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


def _statistics(content: bytes, ranges: Ranges) -> dict[str, Any]:
    """Convert the ranges to the quantizer's format, arrays of the activation's rank. Constants are left out, because
    they would get one scale for all channels."""
    (graph,) = read(content).subgraphs
    rank = {tensor.name.decode(): 0 if tensor.shape is None else len(tensor.shape) for tensor in graph.tensors}
    return {
        name: {"min": np.full([1] * rank[name], low, np.float32), "max": np.full([1] * rank[name], high, np.float32)}
        for name, (low, high) in ranges.items()
    }


def _steps(content: bytes) -> dict[str, float]:
    """Quantization steps of the int8 activations; the quantizer renames those after an operation in float."""
    (graph,) = read(content).subgraphs
    return {
        tensor.name.decode().removesuffix("_quantized"): float(tensor.quantization.scale[0])
        for tensor in graph.tensors
        if tensor.type == schema.TensorType.INT8 and tensor.quantization is not None
    }


def _embedded(content: bytes, images: np.ndarray) -> np.ndarray:
    """Run the file without XNNPACK, which may abort the process for files quantized only for measurement."""
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"])[0].copy())
    return np.stack(found)
