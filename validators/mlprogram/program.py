"""Read an .mlpackage as operations, types and constants, exactly as stored; nothing is computed or simplified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from validators.mlprogram.light_import import load_coremltools
from validators.mlprogram.types import ElementType, element_type, unpack

Constant = np.ndarray | str


@dataclass(frozen=True)
class Value:
    """A named tensor; ``shape`` has None for a size that the program does not fix."""

    name: str
    dtype: ElementType
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of the program.

    Attributes:
        type: MIL's name, e.g. ``conv``.
        arguments: parameter -> names of the values it gets.
    """

    type: str
    name: str
    arguments: Mapping[str, tuple[str, ...]]
    outputs: tuple[Value, ...]


@dataclass(frozen=True)
class ImageInput:
    """The image input; Core ML does not scale or shift it, so the program gets pixel values 0-255."""

    value: Value
    height: int
    width: int
    layout: Literal["RGB", "BGR"]


@dataclass(frozen=True)
class Program:
    """An ML Program.

    Attributes:
        operations: in order of execution, without ``const``, whose values are in ``constants``.
    """

    image: ImageInput
    output: str
    operations: tuple[Operation, ...]
    constants: Mapping[str, Constant]


def load(package: Path, *, pixels: Literal["image", "array"] = "image") -> Program:
    """Read the function that a prediction runs.

    Args:
        pixels: what the program must take: an image, or, inside other files, float32 [1, 3, H, W] with values 0-255.

    Raises:
        ValueError: not an ML Program, or one that does not map this input to one float32 array.
    """
    load_coremltools()
    from coremltools.models.utils import load_spec

    spec = load_spec(str(package))
    if spec.WhichOneof("Type") != "mlProgram":
        raise ValueError(f"expected an ML Program, found a Core ML model of type {spec.WhichOneof('Type')}")
    functions = spec.mlProgram.functions
    main = spec.description.defaultFunctionName or "main"
    if main not in functions:
        raise ValueError(f"the program has no function '{main}' (there are: {', '.join(functions)})")
    function = functions[main]
    block = function.block_specializations[function.opset]
    reader = _Reader(package / "Data" / "com.apple.CoreML")
    operations = tuple(found for each in block.operations if (found := reader.operation(each)) is not None)
    taken = _image(spec, function) if pixels == "image" else _array(spec, function)
    return Program(taken, _output(spec), operations, reader.constants)


def _image(spec: Any, function: Any) -> ImageInput:
    described = _description(spec)
    kinds = [feature.type.WhichOneof("Type") for feature in described.input]
    if kinds != ["imageType"] or len(function.inputs) != 1:
        raise ValueError(f"expected one input, an image, found: {', '.join(kinds) or 'none'}")
    kind = described.input[0].type.imageType
    layout = kind.ColorSpace.Name(kind.colorSpace)
    if layout not in ("RGB", "BGR"):
        raise ValueError(f"expected an RGB or BGR image, found the layout {layout}")
    return ImageInput(_value(function.inputs[0]), kind.height, kind.width, layout)


def _array(spec: Any, function: Any) -> ImageInput:
    kinds = [feature.type.WhichOneof("Type") for feature in _description(spec).input]
    values = [_value(each) for each in function.inputs]
    sizes = values[0].shape if values else ()
    if kinds != ["multiArrayType"] or values[0].dtype.name != "fp32" or len(sizes) != 4 or sizes[:2] != (1, 3):
        found = ", ".join(f"{each.dtype.name} {list(each.shape)}" for each in values) or "none"
        raise ValueError(f"expected one input, an array fp32 [1, 3, H, W], found: {found}")
    _, _, height, width = sizes
    if height is None or width is None:
        raise ValueError("the program fixes no size of its input")
    return ImageInput(values[0], height, width, "RGB")


def _output(spec: Any) -> str:
    described = _description(spec)
    kinds = [feature.type.WhichOneof("Type") for feature in described.output]
    if kinds != ["multiArrayType"]:
        raise ValueError(f"expected one output, an array, found: {', '.join(kinds) or 'none'}")
    array = described.output[0].type.multiArrayType
    name = array.ArrayDataType.Name(array.dataType)
    if name != "FLOAT32":
        raise ValueError(f"expected an output of FLOAT32, found {name}")
    return str(described.output[0].name)


def _description(spec: Any) -> Any:
    """The model's inputs and outputs; in a package of several functions, they are stored with the function."""
    described = spec.description
    return described.functions[0] if described.functions else described


def _value(named: Any) -> Value:
    kind = named.type.tensorType
    if named.type.WhichOneof("type") != "tensorType":
        raise ValueError(f"expected '{named.name}' to be a tensor, found {named.type.WhichOneof('type')}")
    sizes = [d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in kind.dimensions]
    return Value(named.name, _element_type(kind), tuple(sizes))


def _element_type(tensor_type: Any) -> ElementType:
    from coremltools.proto import MIL_pb2

    return element_type(MIL_pb2.DataType.Name(tensor_type.dataType))


class _Reader:
    """Reads operations in order and collects every constant, those written inside an operation included."""

    def __init__(self, folder: Path) -> None:
        self.constants: dict[str, Constant] = {}
        self._folder = folder
        self._blobs: dict[str, Any] = {}

    def operation(self, stored: Any) -> Operation | None:
        """Read one operation; None for ``const``, whose value is stored as a constant."""
        if stored.type == "const":
            self.constants[stored.outputs[0].name] = self._constant(stored.attributes["val"])
            return None
        outputs = tuple(_value(named) for named in stored.outputs)
        name = outputs[0].name if outputs else ""
        arguments = {}
        for parameter, argument in stored.inputs.items():
            arguments[parameter] = tuple(
                binding.name if binding.WhichOneof("binding") == "name" else self._inline(name, parameter, binding)
                for binding in argument.arguments
            )
        # iOS 16 stores the arguments of constexpr operations as attributes.
        for parameter, value in stored.attributes.items():
            if parameter != "name":
                arguments[parameter] = (self._register(f"{name}.{parameter}", self._constant(value)),)
        return Operation(stored.type, name, arguments, outputs)

    def _inline(self, operation: str, parameter: str, binding: Any) -> str:
        return self._register(f"{operation}.{parameter}.{len(self.constants)}", self._constant(binding.value))

    def _register(self, name: str, value: Constant) -> str:
        self.constants[name] = value
        return name

    def _constant(self, stored: Any) -> Constant:
        if stored.type.WhichOneof("type") != "tensorType":
            raise ValueError(f"expected a constant tensor, found a {stored.type.WhichOneof('type')}")
        dtype = _element_type(stored.type.tensorType)
        shape = [dimension.constant.size for dimension in stored.type.tensorType.dimensions]
        if stored.WhichOneof("value") == "blobFileValue":
            return self._blob(stored.blobFileValue, dtype).reshape(shape)
        tensor = stored.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        values = getattr(tensor, kind).values
        if dtype.name == "string":
            return str(values[0])
        if kind != "bytes":
            return np.array(values, dtype.storage).reshape(shape)
        if dtype.bits is None:
            return np.frombuffer(values, dtype.storage).reshape(shape)
        count = int(np.prod(shape))
        return unpack(np.frombuffer(values, np.uint8), dtype.bits, count, dtype.name == "int4").reshape(shape)

    def _blob(self, stored: Any, dtype: ElementType) -> np.ndarray:
        from coremltools.libmilstoragepython import _BlobStorageReader

        if dtype.blob_reader is None:
            raise ValueError(f"{stored.fileName} holds no values of type {dtype.name}")
        path = self._folder / "weights" / Path(stored.fileName).name
        if path.name not in self._blobs:
            self._blobs[path.name] = _BlobStorageReader(str(path))
        values = np.asarray(getattr(self._blobs[path.name], dtype.blob_reader)(stored.offset))
        # Half-precision values are read as 16-bit integers with the same bits.
        return values.view(dtype.storage) if dtype.name == "fp16" else values.astype(dtype.storage)
