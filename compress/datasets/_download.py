"""Download a data set through torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.contracts import MissingTool
from compress.system.torchvision import import_torchvision


def download(name: str, root: Path, **options: Any) -> None:
    """Let ``torchvision.datasets.<name>`` download below ``root``; it checks the archive's MD5.

    Raises:
        MissingTool: torchvision is not installed, the server cannot be reached, or what came is damaged.
    """
    try:
        torchvision = import_torchvision()
    except ModuleNotFoundError as error:
        raise MissingTool(
            f"data.download needs the Python package '{error.name}', which is not installed; "
            'install it with: pip install "compress-retrieval[train]"'
        ) from error
    try:
        getattr(torchvision.datasets, name)(str(root), download=True, **options)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise MissingTool(f"data.download: {name} could not be downloaded to {root.absolute()}: {reason}") from error
