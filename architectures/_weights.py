"""Read a file of weights that another program saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from compress.contracts import BadInput


def read_weights(path: Path, key: str) -> Any:
    """What a .safetensors file, or a file of ``torch.save``, holds; no code in it is run.

    Args:
        key: the option that names the file, for the message.

    Raises:
        BadInput: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise BadInput(f"{key}: no file at {path.absolute()}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zip or safetensors
        raise BadInput(f"{key}: {path} holds no state dict ({str(error).partition(chr(10))[0]})") from error
