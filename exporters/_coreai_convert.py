"""Convert an exported program to Core AI's package, and read its types; runs in the environment of coreai-torch.

Of Compress, it may import what the child finds there without further libraries.
"""

from __future__ import annotations

import ctypes
import json
import random
import re
import secrets
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PROGRAM, DESCRIPTION, CONVERTED = "program.pt2", "metadata.json", "converted.aimodel"
_ADDR_NO_RANDOMIZE = 0x0040000
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")
_TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "si8": "int8", "i8": "int8", "ui8": "uint8"}


def convert(job: Mapping[str, Any], scratch: Path) -> None:
    """Read ``scratch``/``PROGRAM`` and ``DESCRIPTION``, a JSON object, and write the folder ``scratch``/``CONVERTED``.

    The compiler names constants by hashes whose seed is an address, so that it gives the same bytes only in a process
    whose addresses are not randomised; only Linux can start one.
    """
    command = [sys.executable, "-m", "exporters._coreai_convert", str(scratch)]
    done = subprocess.run(command, preexec_fn=_fix_addresses, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(lines[-1] if lines else f"exit status {done.returncode}")


def _fix_addresses() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).personality(_ADDR_NO_RANDOMIZE)


def main(scratch: Path) -> None:
    """The part of ``convert`` in a process of its own."""
    warnings.simplefilter("ignore")
    # The converter draws names of composite operations from ``secrets``, which it imports by name.
    seeded = random.Random(0)
    secrets.choice, secrets.randbits = seeded.choice, seeded.getrandbits  # type: ignore[assignment]
    import torch
    from coreai.runtime import AIModelAssetMetadata
    from coreai_torch import TorchConverter, get_decomp_table

    program = torch.export.load(scratch / PROGRAM)
    program = program.run_decompositions(get_decomp_table())
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
    converter.add_exported_program(program, input_names=["image"], output_names=["embedding"])
    about = json.loads((scratch / DESCRIPTION).read_text(encoding="utf-8"))
    metadata = AIModelAssetMetadata()
    metadata.author, metadata.license = "compress-retrieval", about["license"]
    for key, value in about.items():
        metadata.set_custom(key, value)
    converter.to_coreai().save_asset(scratch / CONVERTED, metadata)
    file = scratch / CONVERTED / "metadata.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    found.pop("creationDate", None)
    file.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def stored_types(job: Mapping[str, Any], scratch: Path) -> list[tuple[str, int, str, str]]:
    """List every operation with constant weights of the package ``job["path"]``, in the order of the file.

    Returns:
        Name, number of weights, and the types of the weights and of the other input.
    """
    from coreai.authoring.asset import AIModelAsset

    module = AIModelAsset.load(job["path"]).program._module._mlir_module
    found: list[tuple[str, int, str, str]] = []
    for operation in _operations(module.operation):
        if re.search("conv|matmul", operation.name):
            data, weights, *_ = operation.operands
            if _is_constant(data):
                data, weights = weights, data
            if _is_constant(weights):
                (count, kind), (_, taken) = _tensor(weights), _tensor(data)
                found.append((f"{operation.name} {len(found)}", count, kind, taken))
    return found


def _operations(parent: Any) -> Iterator[Any]:
    for region in parent.regions:
        for block in region.blocks:
            for each in block.operations:
                yield each.operation
                yield from _operations(each.operation)


def _is_constant(value: Any) -> bool:
    return getattr(value.owner, "name", "") == "coreai.constant"


def _tensor(value: Any) -> tuple[int, str]:
    """The number and the type of a value's elements."""
    match = _TENSOR.fullmatch(str(value.type))
    if match is None:
        return 0, str(value.type)
    count = 1
    for size in match[1].split("x"):
        count *= int(size or 1)
    return count, _TYPES.get(match[2], match[2])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
