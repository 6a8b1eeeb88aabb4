"""Compiles the Swift samples, and gives OfflineIndex on Linux what only Apple's systems have."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from compress.bundle.manifest import read_manifest
from compress.data.images import read_image
from tests._command import REPOSITORY
from validators import run_artifact

SAMPLES = REPOSITORY / "examples/ios"
STUBS = REPOSITORY / "tests/samples/ios"
PLAIN = ("GalleryFile", "OfflineIndex", "Photograph", "Ranking")
"""The files of OfflineIndex that need no framework of Apple's."""

SQLITE = Path("/usr/include/sqlite3.h")


def swiftc(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("swiftc")
    assert compiler, "no swiftc: apt-get install swiftlang libsqlite3-dev (Debian 13), or Xcode"
    return subprocess.run([compiler, *map(str, arguments)], capture_output=True, text=True, check=False)


def build_offline_index(folder: Path) -> Path:
    """Compile OfflineIndex with its driver for Linux; returns the program."""
    (folder / "sqlite").mkdir(parents=True)
    if platform.system() == "Linux":  # Xcode has this module
        module = f'module SQLite3 [system] {{ header "{SQLITE}" link "sqlite3" export * }}'
        (folder / "sqlite/module.modulemap").write_text(module, encoding="utf-8")
    sources = [*(SAMPLES / "offline" / f"{name}.swift" for name in PLAIN), STUBS / "linux/main.swift"]
    options = ["-warnings-as-errors", "-I", folder / "sqlite", "-module-name", "Offline", "-o", folder / "offline"]
    done = swiftc(*options, *sources)
    assert done.returncode == 0, done.stderr
    return folder / "offline"


def prepare(folder: Path, bundle: Path, files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Write the decoded photographs into ``folder``, as tests/samples/ios/linux/main.swift reads them.

    Returns:
        The artifact's inputs, uint8 [H, W, 3], by their sha256.
    """
    folder.mkdir(exist_ok=True)
    inputs = {}
    for file in files:
        try:
            with Image.open(file) as image:
                turn = image.getexif().get(0x0112, 1)
                pixels = np.asarray(image.convert("RGBA"))
        except (UnidentifiedImageError, OSError):
            continue
        head = np.array([*image.size, turn], "<u4").tobytes()
        (folder / f"{hashlib.sha256(file.read_bytes()).hexdigest()}.raster").write_bytes(head + pixels.tobytes())
        rgb = read_image(file, read_manifest(bundle).preprocess.value)
        inputs[hashlib.sha256(rgb.tobytes()).hexdigest()] = rgb
    return inputs


def embed(folder: Path, artifact: Path, inputs: Mapping[str, np.ndarray]) -> None:
    """Write the artifact's embeddings of ``inputs`` into ``folder``."""
    if inputs:
        embeddings = run_artifact(artifact, np.stack(list(inputs.values())))
        for name, embedding in zip(inputs, embeddings, strict=True):
            (folder / f"{name}.f32").write_bytes(embedding.astype("<f4").tobytes())
