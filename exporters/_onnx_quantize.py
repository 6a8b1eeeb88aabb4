"""Quantize ONNX models to int8 weights and uint8 activations with ONNX Runtime's static quantization."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from compress.contracts import DeployGraph, LearnedRange
from exporters._finite import INFINITE, finite_ends
from exporters._learned_ranges import fingerprint, match, probes, summary

_BATCH = 32

_LEAST = 1e-5
"""Smallest range of activations and weights; with a scale of nearly 0, the integers of biases overflow."""


def integers(model: Any, graph: DeployGraph) -> tuple[Any, dict[str, Any]]:
    """Quantize the float model to w8a8; also returns the record of how.

    Ranges learnt in training replace those of the calibration images if the file has a tensor for them.

    Args:
        model: its input is ``image``, uint8 [N, 3, H, W].
    """
    images = graph.calibration
    assert images is not None
    matched = match(graph.learned, _fingerprints(model, probes(images)) if graph.learned else {})
    result = quantized(model, images, matched)
    return result, summary(graph.learned, matched, _steps(result))


def quantized(model: Any, calibration: np.ndarray, learned: Mapping[str, LearnedRange]) -> Any:
    """Add pairs of QuantizeLinear and DequantizeLinear around the operations of the float model.

    Weights get one scale per output channel. Activations are uint8, as ONNX Runtime advises for x86 and as it can use
    on ARM; int8 ones halved the mAP of a trained ALNet on CIFAR-10 on an x86 processor.

    Args:
        calibration: uint8 [N, H, W, 3].
        learned: ranges that replace those of the calibration images, by tensor name.
    """
    overrides = {
        name: [{"rmin": np.float32(each.low), "rmax": np.float32(each.high)}] for name, each in learned.items()
    }
    _make_paddings_finite(model, calibration)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        quantize_static(
            model,
            path,
            _Images(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": overrides, "MinimumRealRange": _LEAST},
        )
        return onnx.load(path)


def _make_paddings_finite(model: Any, calibration: np.ndarray) -> None:
    """Replace infinite paddings, as before a max pool, by the smallest or largest finite value of what they pad.

    Otherwise infinity would be calibrated as the end of a range.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "Pad" and len(node.input) > 2 and node.input[2] in constants:
            value = float(onnx.numpy_helper.to_array(constants[node.input[2]]))
            if not abs(value) < INFINITE:
                found.append((node, value))
    if not found:
        return
    padded = [node.input[0] for node, _ in found]
    session = _opened(model, padded)
    ends = [[finite_ends(value) for value in session.run(padded, _feed(image[None]))] for image in calibration]
    for number, (node, value) in enumerate(found):
        end = min(each[number][0] for each in ends) if value < 0 else max(each[number][1] for each in ends)
        name = f"{node.input[2]}.{number}"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(end, np.float32), name))
        node.input[2] = name


def _opened(model: Any, outputs: Sequence[str]) -> InferenceSession:
    """A session of the model whose outputs are these tensors."""
    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    del open_model.graph.output[:]
    open_model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return InferenceSession(open_model.SerializeToString(), providers=["CPUExecutionProvider"])


def _steps(model: Any) -> dict[str, float]:
    """Quantization steps of the activations, by tensor name."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return {node.input[0]: float(onnx.numpy_helper.to_array(constants[node.input[1]])) for node in nodes}


class _Images(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self._batches = iter(np.split(images, range(_BATCH, len(images), _BATCH)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input of the session; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else _feed(batch)


def _feed(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}


def _fingerprints(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Fingerprints of the activations for ``_learned_ranges``: tensor name -> float64 [n, 19]."""
    names = [name for node in model.graph.node for name in node.output]
    session = _opened(model, names)
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for image in images:
        for name, value in zip(names, session.run(names, _feed(image[None])), strict=True):
            if value.dtype == np.float32:
                found[name].append(fingerprint(value))
    return {name: np.stack(each) for name, each in found.items() if each}
