"""Execute TFLite files on LiteRT's GPU accelerator, through Vulkan: on a real device or on a software one.

The accelerator is the graph code that phones execute through OpenCL, Metal or WebGPU. It can end the process, and it
can compute wrong values while it reports that it takes every operation: compare its outputs.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Acceleration, Embedder
from compress.system.child import ChildFailed, call, one_line

FOLDER_VARIABLE = "COMPRESS_GPU"
ACCELERATOR = "libLiteRtWebGpuAccelerator.so"
LOADER = "libvulkan.so.1"
REMEDY = f"'make gpu' makes a folder with a software device; set {FOLDER_VARIABLE} to it, or install a Vulkan driver"
DEVICE_FILES = ("dri/*", "nvidia*", "nvidia-caps/*", "kfd", "mali*", "dxg")
"""Patterns in /dev of what drivers of real devices open for writing."""

_DISCRETE, _INTEGRATED, _VIRTUAL, _CPU = 2, 1, 3, 4  # VkPhysicalDeviceType
_PREFERRED = (_DISCRETE, _INTEGRATED, _VIRTUAL)
_TYPE_OFFSET, _NAME_OFFSET, _NAME_BYTES = 16, 20, 256  # in VkPhysicalDeviceProperties
_PROPERTIES_BYTES = 4096  # it needs 824

_ADAPTER = re.compile(r"Selected adapter: (?P<name>.+?), arch=.*adapterType=(?P<kind>.+)")
_SHARED = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+) operations will run on the CPU")
_REFUSALS = re.compile(r"not supported by GPU delegate:\n(.*?)^\d+ operations will run", re.DOTALL | re.MULTILINE)
_REFUSED = re.compile(r"^([A-Z][A-Z0-9_]+): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Device:
    """A Vulkan device.

    Attributes:
        software: whether a CPU does the work (``VK_PHYSICAL_DEVICE_TYPE_CPU``).
    """

    name: str
    software: bool


def chosen(devices: list[tuple[str, int]]) -> Device | None:
    """The device that LiteRT takes, out of names and types: a real one if there is any."""
    ranked = sorted(devices, key=lambda each: _PREFERRED.index(each[1]) if each[1] in _PREFERRED else len(_PREFERRED))
    return Device(ranked[0][0], ranked[0][1] == _CPU) if ranked else None


def device() -> tuple[Device | None, str]:
    """The device that would execute here, or None and the reason."""
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / ACCELERATOR).exists():
        return None, f"this ai-edge-litert has no {ACCELERATOR}; it comes with the wheels for Linux"
    return _probed(os.environ.get(FOLDER_VARIABLE, ""))


@functools.cache
def _probed(folder: str) -> tuple[Device | None, str]:
    """Ask Vulkan in a child process, because drivers can end a process."""
    if folder and not Path(folder, LOADER).exists():
        return None, f"{FOLDER_VARIABLE} names {folder}, which has no {LOADER}; {REMEDY}"
    try:
        found = call(_find, {"folder": folder}, timeout_s=60)
    except ChildFailed as failed:
        return None, f"no Vulkan device could be listed ({failed.line}); {REMEDY}"
    return (Device(**found), "") if found else (None, f"Vulkan lists no device; {REMEDY}")


def _find(job: Mapping[str, Any], scratch: Path) -> dict[str, Any] | None:
    found = chosen(_devices(_load_vulkan(job["folder"])))
    return None if found is None else asdict(found)


def _load_vulkan(folder: str) -> ctypes.CDLL:
    """Load the Vulkan loader of ``folder``, or the system's; LiteRT then finds it by its name."""
    if not folder:
        return ctypes.CDLL(LOADER, mode=ctypes.RTLD_GLOBAL)
    drivers = os.pathsep.join(str(each.resolve()) for each in sorted(Path(folder).glob("*.json")))
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):  # new and old name of the same
        os.environ[variable] = drivers
    return ctypes.CDLL(str(Path(folder, LOADER).resolve()), mode=ctypes.RTLD_GLOBAL)


def _devices(vulkan: ctypes.CDLL) -> list[tuple[str, int]]:
    """Names and types of all devices."""

    class InstanceCreateInfo(ctypes.Structure):
        _fields_ = (
            ("structure_type", ctypes.c_int),
            ("next", ctypes.c_void_p),
            ("flags", ctypes.c_uint32),
            ("application", ctypes.c_void_p),
            ("layer_count", ctypes.c_uint32),
            ("layers", ctypes.c_void_p),
            ("extension_count", ctypes.c_uint32),
            ("extensions", ctypes.c_void_p),
        )

    instance, count = ctypes.c_void_p(), ctypes.c_uint32()
    wanted = InstanceCreateInfo(1)
    _succeed("vkCreateInstance", vulkan.vkCreateInstance(ctypes.byref(wanted), None, ctypes.byref(instance)))
    enumerate_devices: Callable[..., int] = vulkan.vkEnumeratePhysicalDevices
    _succeed("vkEnumeratePhysicalDevices", enumerate_devices(instance, ctypes.byref(count), None))
    handles = (ctypes.c_void_p * count.value)()
    if count.value:
        _succeed("vkEnumeratePhysicalDevices", enumerate_devices(instance, ctypes.byref(count), handles))
    found = []
    for handle in handles:
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
        name = properties.raw[_NAME_OFFSET : _NAME_OFFSET + _NAME_BYTES].partition(b"\0")[0].decode(errors="replace")
        found.append((name, int.from_bytes(properties.raw[_TYPE_OFFSET : _TYPE_OFFSET + 4], sys.byteorder)))
    vulkan.vkDestroyInstance(instance, None)
    return found


def _succeed(function: str, result: int) -> None:
    if result != 0:
        raise RuntimeError(f"{function} gave {result}")


class GpuEmbedder:
    """An opened file: takes images uint8 [N, H, W, 3], gives float32 [N, D], one image at a time.

    Attributes:
        device: the device that executes.
        acceleration: which operations it executes.
    """

    def __init__(self, path: Path) -> None:
        """Raises RuntimeError if LiteRT refuses the file, or takes another device than expected."""
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.options import HardwareAccelerator, Options

        expected = chosen(_devices(_load_vulkan(os.environ.get(FOLDER_VARIABLE, ""))))
        if expected is None:
            raise RuntimeError("Vulkan lists no device")
        self.device = expected
        # With the CPU for the other operations, so that LiteRT names these instead of refusing the file.
        both = HardwareAccelerator.GPU | HardwareAccelerator.CPU
        with _printed() as printed:
            self._model = CompiledModel.from_file(str(path), options=Options(hardware_accelerators=both))
            self._inputs, self._outputs = self._model.create_input_buffers(0), self._model.create_output_buffers(0)
        words = printed()
        _check_device(words, expected)
        self.acceleration = acceleration(words, self._model.is_fully_accelerated())
        self._image, self._embedding = _ends(self._model)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        size = self._image["shape"][1:]
        if list(images.shape[1:]) != size:
            raise ValueError(f"the file takes images [H,W,3] of {size}, these are {list(images.shape[1:])}")
        return np.concatenate([self._one(image[None]) for image in images])

    def _one(self, image: np.ndarray) -> np.ndarray:
        self._inputs[0].write(np.ascontiguousarray(image))
        self._model.run_by_index(0, self._inputs, self._outputs)
        shape = self._embedding["shape"]
        return np.array(self._outputs[0].read(int(np.prod(shape)), np.float32)).reshape(shape)


def open_on_gpu(path: Path) -> Embedder:
    """Load a file on the GPU. Called in a child process only.

    Raises:
        RuntimeError: LiteRT refuses the file, or takes another device than Vulkan's first.
        ValueError: the file does not take one uint8 [1, H, W, 3], or gives no float32.
    """
    return GpuEmbedder(path)


def acceleration(printed: str, complete: bool) -> Acceleration:
    """Which operations run on the GPU, from what LiteRT printed when it loaded the file.

    Args:
        complete: what LiteRT says of the whole file.
    """
    shared = [(int(gpu), int(cpu)) for gpu, cpu in _SHARED.findall(printed)]
    if complete and not shared:
        return Acceleration(1.0)
    gpu, cpu = (sum(counts) for counts in zip(*shared, strict=True)) if shared else (0, 1)
    reasons = collections.Counter(
        f"{operator}: {reason.split('. ')[0].rstrip('.')}"  # after the sentence comes the tensor's name
        for refusals in _REFUSALS.findall(printed)
        for operator, reason in _REFUSED.findall(refusals)
    )
    return Acceleration(gpu / (gpu + cpu), tuple(f"{count} x {words}" for words, count in reasons.items()))


def _check_device(printed: str, expected: Device) -> None:
    """Raises RuntimeError unless LiteRT took a device of the kind on which the evidence depends."""
    found = _ADAPTER.search(printed)
    if found is None:
        raise RuntimeError(f"LiteRT names no GPU device ({one_line(printed)})")
    if ("CPU" in found["kind"]) != expected.software:
        kind = "software" if expected.software else "real"
        raise RuntimeError(f"LiteRT took '{found['name']}' ({found['kind']}), not the {kind} device '{expected.name}'")


def _ends(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of the only input and output."""
    signatures = list(model.get_signature_list())
    if len(signatures) != 1:
        raise ValueError(f"expected one signature, found: {', '.join(signatures)}")
    inputs = list(model.get_input_tensor_details(signatures[0]).values())
    outputs = list(model.get_output_tensor_details(signatures[0]).values())
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"expected one input and one output, found {len(inputs)} and {len(outputs)}")
    image, embedding = inputs[0], outputs[0]
    shape = [int(d) for d in image["shape"]]
    types = image["dtype"], embedding["dtype"]
    if types != ("uint8", "float32") or len(shape) != 4 or (shape[0], shape[3]) != (1, 3):
        raise ValueError(f"expected uint8 [1,H,W,3] to float32, found {types[0]} {shape} to {types[1]}")
    return {**image, "shape": shape}, {**embedding, "shape": [int(d) for d in embedding["shape"]]}


@contextmanager
def _printed() -> Iterator[Callable[[], str]]:
    """Catch what C++ code prints; the value gives it after the context.

    If the code ends the process, the last words are those that are written here.
    """
    caught = ""
    os.write(2, b"while LiteRT loaded it for the GPU\n")
    with tempfile.TemporaryFile() as file:
        kept = [(stream, os.dup(stream)) for stream in (1, 2)]
        for stream, _ in kept:
            os.dup2(file.fileno(), stream)
        try:
            yield lambda: caught
        finally:
            for stream, copy in kept:
                os.dup2(copy, stream)
                os.close(copy)
            file.seek(0)
            caught = file.read().decode(errors="replace")
            os.write(2, caught.encode())
