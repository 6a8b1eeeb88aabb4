"""The golden pack: real images and the embeddings every artifact must give for them.

``golden/images/NNN.png`` are the uint8 RGB images after resizing, exactly what an artifact takes;
``golden/embeddings.f32`` holds the PyTorch model's embeddings, little-endian float32, row by row;
``golden/golden.json`` names both, so that Python, Kotlin and Swift read the same files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from compress.contracts import BadInput, ImageSet
from compress.workspace import write_json

_FLOAT = np.dtype("<f4")


@dataclass(frozen=True)
class Golden:
    """Attributes: images uint8 [P, H, W, 3]; labels int64 [P]; embeddings float32 [P, D], the PyTorch model's."""

    images: np.ndarray
    labels: np.ndarray
    embeddings: np.ndarray


def choose_probes(images: ImageSet, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Up to ``count`` held-out images, evenly over the classes: images uint8 [P, H, W, 3], labels, ids.

    Grey images are tinted: in grey, a file that swaps red and blue gives the right answer.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    order = random.permutation(len(images))
    # Round robin over the classes: the n-th image of each class comes before any class's (n+1)-th.
    turn = np.empty(len(images), dtype=np.int64)
    for label in np.unique(images.labels):
        members = order[images.labels[order] == label]
        turn[members] = np.arange(len(members))
    chosen = np.sort(order[np.argsort(turn[order], kind="stable")][:count])
    probes = np.array(images.images[chosen])
    grey = (probes[..., :1] == probes).all(axis=(1, 2, 3))
    tints = random.permuted(np.tile([0.35, 0.7, 1.0], (len(probes), 1)), axis=1)
    tinted = np.rint(probes * tints[:, None, None, :]).astype(np.uint8)
    return np.where(grey[:, None, None, None], tinted, probes), images.labels[chosen], [images.ids[i] for i in chosen]


def write_golden(folder: Path, golden: Golden, ids: Sequence[str], classes: Sequence[str]) -> None:
    """Write the pack into ``folder``, without images of an earlier pack there; ``golden.json`` comes last."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    files = [f"images/{number:03d}.png" for number in range(len(ids))]
    for stray in set((folder / "images").iterdir()) - {folder / file for file in files}:
        stray.unlink()
    entries = []
    for file, image, label, name in zip(files, golden.images, golden.labels, ids, strict=True):
        Image.fromarray(image).save(folder / file, optimize=False)
        entries.append({"file": file, "source": name, "label": classes[int(label)], "class": int(label)})
    (folder / "embeddings.f32").write_bytes(golden.embeddings.astype(_FLOAT).tobytes())
    write_json(
        folder / "golden.json",
        {
            "images": entries,
            "embeddings": {
                "file": "embeddings.f32",
                "dtype": "float32 little-endian",
                "shape": list(golden.embeddings.shape),
            },
            "note": "grey source images are tinted, so that a file that swaps colour channels is found out",
        },
    )


def read_golden(folder: Path) -> Golden:
    """Read a pack back.

    Raises:
        BadInput: a file is missing or damaged; the message names it.
    """
    index = folder / "golden.json"
    try:
        content: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        shape = content["embeddings"]["shape"]
        embeddings = np.fromfile(folder / content["embeddings"]["file"], dtype=_FLOAT).reshape(shape)
        images = np.stack(
            [np.asarray(Image.open(folder / entry["file"]).convert("RGB")) for entry in content["images"]]
        )
        labels = np.array([entry["class"] for entry in content["images"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{index}: the golden pack is damaged ({error})") from error
    return Golden(images, labels, embeddings)
