"""The golden pack: real images, the embeddings every artifact must give for them, and their nearest neighbours.

``golden/images/NNN.png`` are the uint8 RGB images after resizing, exactly the input of an artifact, and
``golden/images.u8`` are the same pixels one after the other (NHWC), for apps without a PNG decoder;
``golden/embeddings.f32`` holds the PyTorch model's embeddings, little-endian float32, row by row;
``golden/controls.f32`` holds the embeddings of broken models, one model after the other, in the same layout;
``golden/golden.json`` names all of them, with each image's nearest neighbours in the gallery and, for hash codes, the
code, so that Python, Kotlin and Swift read the same files. ``compress.bundle.golden_photos`` adds photographs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from compress.bundle.golden_photos import GoldenPhotos, described, read_golden_photos, remove_golden_photos
from compress.contracts import BadInput, ImageSet
from compress.data.splits import round_robin
from compress.gallery.nearest import Match, nearest
from compress.gallery.store import Gallery
from compress.system.bounded_reading import read_bytes, read_json
from compress.system.files import remove, write_json
from compress.system.path_containment import file_inside
from validators.metrics import binarize

NEIGHBOURS = 10

_MOST_CLASSES = 1_000_000
_MOST_BYTES = 1 << 30
_FLOAT = np.dtype("<f4")


@dataclass(frozen=True)
class Golden:
    """The golden pack of P images.

    Attributes:
        images: uint8 [P, H, W, 3].
        labels: int64 [P].
        embeddings: float32 [P, D], the PyTorch model's.
        sources: the name of each image in the data set.
        neighbours: neighbours of each image, nearest first, in the bundle's gallery, by the PyTorch model's features.
        leave_one_out: whether an image's own source is left out of its neighbours.
        controls: name of a broken model -> its embeddings of the images, float32 [P, D]; empty in older packs.
        photos: files of photographs with their pixels; None unless a recipe asks for them.
    """

    images: np.ndarray
    labels: np.ndarray
    embeddings: np.ndarray
    sources: tuple[str, ...]
    neighbours: tuple[tuple[Match, ...], ...]
    leave_one_out: bool
    controls: Mapping[str, np.ndarray] = field(default_factory=dict)
    photos: GoldenPhotos | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the PNG files, relative to the pack's folder."""
        return tuple(f"images/{number:03d}.png" for number in range(len(self.sources)))

    @property
    def broken(self) -> dict[str, np.ndarray]:
        """``controls``, and those computed from the right embeddings (``rearranged``); empty in older packs."""
        return {**self.controls, **rearranged(self.embeddings)} if self.controls else {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """The argument ``without`` of ``compress.gallery.nearest.nearest``."""
        return self.sources if self.leave_one_out else ()


def rearranged(embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of files with a constant output or with the output of another image: name -> float32 [P, D]."""
    return {
        "constant_output": np.repeat(embeddings[:1], len(embeddings), axis=0),
        "shuffled_outputs": np.roll(embeddings, 1, axis=0),
    }


def choose_probes(images: ImageSet, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Choose up to ``count`` held-out images, evenly over the classes: images uint8 [P, H, W, 3], labels, ids.

    Grey images are tinted, because a file that swaps red and blue gives the right output for a grey image.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    chosen = round_robin(images.labels, random.permutation(len(images)), count)
    probes = np.array(images.images[chosen])
    grey = (probes[..., :1] == probes).all(axis=(1, 2, 3))
    tints = random.permuted(np.tile([0.35, 0.7, 1.0], (len(probes), 1)), axis=1)
    tinted = np.rint(probes * tints[:, None, None, :]).astype(np.uint8)
    return np.where(grey[:, None, None, None], tinted, probes), images.labels[chosen], [images.ids[i] for i in chosen]


def make_golden(
    images: np.ndarray,
    labels: np.ndarray,
    sources: Sequence[str],
    embeddings: np.ndarray,
    gallery: Gallery,
    leave_one_out: bool,
    controls: Mapping[str, np.ndarray] | None = None,
) -> Golden:
    """Make the pack of these images, with their neighbours in ``gallery``."""
    left_out = tuple(sources) if leave_one_out else ()
    found = nearest(gallery, embeddings, NEIGHBOURS, left_out)
    # Six digits are the same on another processor, which may add in another order.
    neighbours = tuple(
        tuple(Match(match.name, match.label, float(f"{match.distance:.6g}")) for match in matches) for matches in found
    )
    return Golden(images, labels, embeddings, tuple(sources), neighbours, leave_one_out, controls or {})


def write_golden(folder: Path, golden: Golden, classes: Sequence[str], gallery: Gallery, license: str) -> None:
    """Write the pack into ``folder`` and remove images of an earlier pack; ``golden.json`` is written last.

    The golden photographs, if there are any, have been written.

    Args:
        license: licence of the images.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for stray in set((folder / "images").iterdir()) - {folder / file for file in golden.files}:
        remove(stray)
    if golden.photos is None:
        remove_golden_photos(folder)
    entries = []
    for number, (file, image) in enumerate(zip(golden.files, golden.images, strict=True)):
        Image.fromarray(image).save(folder / file, optimize=False)
        label = int(golden.labels[number])
        entry = {"file": file, "source": golden.sources[number], "label": classes[label], "class": label}
        if gallery.embedding.kind == "binary":
            entry["code"] = binarize(golden.embeddings[number]).tobytes().hex()
        entries.append({**entry, "neighbours": [asdict(match) for match in golden.neighbours[number]]})
    (folder / "images.u8").write_bytes(golden.images.tobytes())
    (folder / "embeddings.f32").write_bytes(golden.embeddings.astype(_FLOAT).tobytes())
    controls: dict[str, Any] = {}
    if golden.controls:
        stacked = np.stack(list(golden.controls.values())).astype(_FLOAT)
        (folder / "controls.f32").write_bytes(stacked.tobytes())
        controls["controls"] = {
            "file": "controls.f32",
            "dtype": "float32 little-endian",
            "shape": list(stacked.shape),
            "names": list(golden.controls),
        }
    write_json(
        folder / "golden.json",
        {
            "license": license,
            "images": entries,
            "tensors": {"file": "images.u8", "dtype": "uint8", "layout": "NHWC", "shape": list(golden.images.shape)},
            "embeddings": {
                "file": "embeddings.f32",
                "dtype": "float32 little-endian",
                "shape": list(golden.embeddings.shape),
            },
            **controls,
            **({} if golden.photos is None else {"photos": described(golden.photos)}),
            "gallery": {
                "file": "../gallery/gallery.sqlite",
                "kind": gallery.embedding.kind,
                "distance": gallery.embedding.distance,
                "neighbours": NEIGHBOURS,
                "leave_one_out": golden.leave_one_out,
            },
            "note": "grey source images are tinted, so that a file that swaps colour channels is found out; "
            "an image's neighbours are those of the tinted image, and with leave_one_out never its own source",
        },
    )


def read_golden(folder: Path) -> Golden:
    """Read a pack back.

    Raises:
        BadInput: a file is missing or damaged, or two of them disagree; the message names it.
    """
    index = folder / "golden.json"
    try:
        content = read_json(file_inside(folder, "golden.json"))
        entries = content["images"]
        embeddings = _array(folder, "embeddings.f32", _FLOAT, content["embeddings"]["shape"], dimensions=2)
        images = _array(folder, "images.u8", np.dtype(np.uint8), content["tensors"]["shape"], dimensions=4)
        golden = Golden(
            images,
            np.array([_class(entry["class"]) for entry in entries], dtype=np.int64),
            embeddings,
            tuple(str(entry["source"]) for entry in entries),
            tuple(tuple(_match(match) for match in entry["neighbours"]) for entry in entries),
            bool(content["gallery"]["leave_one_out"]),
            _controls(folder, content),
            read_golden_photos(folder, content["photos"]) if "photos" in content else None,
        )
        if not len(images) == len(embeddings) == len(entries):
            raise ValueError(f"{len(entries)} images, {len(images)} tensors, {len(embeddings)} embeddings")
        if not np.isfinite(embeddings).all():
            raise ValueError("embeddings.f32 holds NaN or infinity")
        for file, entry, pixels, embedding in zip(golden.files, entries, images, embeddings, strict=True):
            if not np.array_equal(_pixels(file_inside(folder, file), pixels.shape[:2]), pixels):
                raise ValueError(f"{file} and images.u8 hold other pixels")
            if content["gallery"]["kind"] == "binary" and entry["code"] != binarize(embedding).tobytes().hex():
                raise ValueError(f"the code of {file} is not that of its embedding, first bit most significant")
    except (BadInput, ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        raise BadInput(f"{index}: the golden pack is damaged ({error})") from error
    return golden


def _array(folder: Path, name: str, dtype: np.dtype, shape: list[int], *, dimensions: int) -> np.ndarray:
    """Read an array. Raises BadInput, TypeError or ValueError if the file's size does not fit ``shape``."""
    size = math.prod(shape) * dtype.itemsize
    if len(shape) != dimensions or any(type(side) is not int or side < 1 for side in shape):
        raise ValueError(f"{name}: shape {shape}")
    content = read_bytes(file_inside(folder, name), most=_MOST_BYTES)
    if len(content) != size:
        raise ValueError(f"{name}: {len(content)} bytes instead of {size}")
    return np.frombuffer(content, dtype).reshape(shape)


def _pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a PNG, uint8 [H, W, 3]. Raises ValueError for another size, which could fill the memory."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.size == size[::-1]:
                return np.asarray(image.convert("RGB"))
            reason = f"{image.width} x {image.height} pixels"
    except Exception as error:  # Pillow's readers raise errors of every kind for damaged files
        reason = str(error)
    raise ValueError(f"{path.name}: {reason}")


def _class(number: Any) -> int:
    """A class number. Raises ValueError for other values, because later steps count the images of each class."""
    if type(number) is not int or not 0 <= number < _MOST_CLASSES:
        raise ValueError(f"class {str(number)[:40]!r}")
    return number


def _controls(folder: Path, content: dict[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of the broken models. Raises as ``_array`` does, and if they do not fit the golden images."""
    if "controls" not in content:
        return {}
    names, shape = content["controls"]["names"], content["controls"]["shape"]
    stacked = _array(folder, "controls.f32", _FLOAT, shape, dimensions=3)
    if len(names) != len(stacked) or shape[1:] != content["embeddings"]["shape"]:
        raise ValueError("controls.f32 has another shape than golden.json says")
    return {str(name): outputs for name, outputs in zip(names, stacked, strict=True)}


def _match(values: dict[str, Any]) -> Match:
    """One neighbour. Raises ValueError, KeyError or TypeError if the values are not those of a neighbour."""
    return Match(str(values["name"]), str(values["label"]), float(values["distance"]))
