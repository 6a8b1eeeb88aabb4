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

from compress.contracts import BadInput, DeployGraph
from exporters._by_error import evenly
from exporters._float_locations import NEIGHBOUR_IMAGES, Location, choice_record, neighbours_kept
from exporters._float_weights import FloatLayers
from exporters._learned_ranges import match, probes, summary
from exporters._mixed import FloatKind, MixedPrecision
from exporters._tflite_file import builtin, operator_name, read
from exporters._tflite_locations import locations
from exporters._tflite_maxima import with_integer_maxima
from exporters._tflite_ranges import activation_ranges, fingerprints, with_finite_paddings
from exporters._tflite_scales import with_bounded_scales
from exporters._tflite_stored import WEIGHTED, stored
from exporters._tflite_weights import results_of, weights_of

_EVERYTHING = qtyping.TFLOperationName.ALL_SUPPORTED

_PRODUCTS = WEIGHTED | {schema.BuiltinOperator.BATCH_MATMUL, schema.BuiltinOperator.TRANSPOSE_CONV}

Ranges = Mapping[str, tuple[float, float]]


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
    for scope in _scopes(results_of(content, in_float)):
        quantizer.update_quantization_recipe(scope, _EVERYTHING, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return _written(quantizer, None)


class Integers:
    """Quantizes the float file ``content`` to w8a8, with some of its operations in float.

    Ranges learnt in training replace those of the calibration images if the file has a tensor for them.

    Attributes:
        locations: the operations that can stay in float, by kind, for the kinds that the file has.
    """

    def __init__(self, content: bytes, graph: DeployGraph) -> None:
        images = graph.calibration
        assert images is not None
        self._learned = graph.learned
        self._matched = match(graph.learned, fingerprints(content, probes(images)) if graph.learned else {})
        learned = {name: (each.low, each.high) for name, each in self._matched.items()}
        self._ranges = activation_ranges(content, images, learned)
        self._content = with_finite_paddings(content, self._ranges)
        self.locations = locations(self._content, _divisions(self._content))

    def mixed(self, kept: Sequence[Location]) -> bytes:
        """The w8a8 file with these operations in float."""
        return quantized(self._content, self._ranges, in_float=_results(kept))

    def alone(self, one: Location) -> bytes:
        """The float file in which only this operation is quantized."""
        return quantized(self._content, self._ranges, alone=one.results)

    def summary(self, result: bytes) -> dict[str, Any]:
        """Which learnt ranges the file has; empty if none were learnt."""
        return summary(self._learned, self._matched, _steps(result))


def integers(content: bytes, graph: DeployGraph, exporter: MixedPrecision) -> tuple[bytes, dict[str, Any]]:
    """Quantize the float file ``content`` as the exporter's options say; also returns the record of how.

    Raises:
        BadInput: the operations in float are not chosen yet, or are those of another network.
    """
    files = Integers(content, graph)
    kept = _kept(files.locations, exporter)
    result = files.mixed(kept)
    record = files.summary(result)
    if exporter.keep_float == "auto":
        assert graph.calibration is not None
        some = evenly(graph.calibration, NEIGHBOUR_IMAGES)
        share = neighbours_kept(embedded(result, some), embedded(content, some), graph.metadata.get("distance", "l2"))
        record |= choice_record(kept, share)
    elif exporter.keep_float != "none":
        record["float_operations"] = {kind: len(files.locations.get(kind, [])) for kind in exporter.keep_float}
    return result, record


def _kept(known: Mapping[FloatKind, Sequence[Location]], exporter: MixedPrecision) -> list[Location]:
    """The operations that the exporter's options keep in float."""
    if exporter.keep_float == "none":
        return []
    if exporter.keep_float != "auto":
        return [each for kind in exporter.keep_float for each in known.get(kind, [])]
    if exporter.float_at is None:
        raise BadInput("float_at: missing; 'keep_float: auto' needs the choice that exporters.planned makes")
    every = {each.name: each for some in known.values() for each in some}
    for name in exporter.float_at:
        if name not in every:
            raise BadInput(f"float_at: made for another network or version: there is no operation '{name}'; remove it")
    return [every[name] for name in exporter.float_at]


def _results(kept: Sequence[Location]) -> list[str]:
    return [name for each in kept for name in each.results]


def quantized(
    content: bytes, ranges: Ranges, *, in_float: Collection[str] = (), alone: Collection[str] | None = None
) -> bytes:
    """Quantize the float file to int8 weights, one scale per output channel, and int8 activations of these ranges.

    Every activation that the quantizer supports is quantized, also CBAM's sigmoids and means: keeping these, or the
    normalisation, in float changed the mAP of trained ALNets (CIFAR-10, MNIST) by less than 0.001 in either direction,
    and took up to a fifth more time. Divisions stay in float, as ``_divisions`` says.

    Args:
        ranges: tensor name -> range, for every float activation.
        in_float: results of operations that keep computing in float.
        alone: results of the only operations to quantize.
    """
    quantizer = Quantizer(content)
    for scope in [".*"] if alone is None else _scopes(alone):
        quantizer.add_static_config(scope, _EVERYTHING, activation_num_bits=8, weight_num_bits=8)
    quantizer.update_quantization_recipe(".*", qtyping.TFLOperationName.OUTPUT, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for scope in _scopes([*in_float, *_divisions(content)]):
        quantizer.update_quantization_recipe(scope, _EVERYTHING, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return with_integer_maxima(with_bounded_scales(_written(quantizer, _statistics(content, ranges)), content))


def _scopes(results: Collection[str]) -> list[str]:
    """Patterns of single operations: the quantizer knows them by the names of their results."""
    return [f"^{re.escape(result)};$" for result in results]


def _divisions(content: bytes) -> set[str]:
    """The names of the results of divisions by computed values, of inverse square roots, and of what computes their
    divisors alone.

    A small divisor, which a network keeps from 0 by adding or comparing with a constant, has the integer of 0. TFLite's
    integer kernels then stop the whole inference; a division in float by that integer would give infinity.
    """
    model = read(content)
    (graph,) = model.subgraphs
    makers = {number: operation for operation in graph.operators for number in operation.outputs}
    readers = Counter(number for operation in graph.operators for number in set(operation.inputs))
    found = set()

    def add(number: int) -> None:
        if operator_name(model, makers[number]) in qtyping.TFLOperationName.__members__:
            found.add(graph.tensors[number].name.decode())

    for operation in graph.operators:
        name = operator_name(model, operation)
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


def embedded(content: bytes, images: np.ndarray) -> np.ndarray:
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
