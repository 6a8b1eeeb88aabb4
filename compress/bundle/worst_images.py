"""Write the image on which an artifact differs most from the PyTorch model as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from compress.contracts import HeldOut
from compress.system.files import atomic

FOLDER = "worst"


def write_worst(bundle: Path, name: str, worst_image: str | None, held_out: HeldOut) -> str | None:
    """Write ``worst/<name>.png``; the same pixels and Pillow version give the same bytes.

    Args:
        worst_image: as the parity check names it, a query's id or ``probe N``; None if nothing was compared.

    Returns:
        The path of the file, relative to the bundle.
    """
    if worst_image is None:
        return None
    if worst_image in held_out.queries.ids:
        row = held_out.queries.ids.index(worst_image)
        pixels = np.asarray(held_out.queries.images[row : row + 1])[0]
    else:
        pixels = held_out.probes[int(worst_image.removeprefix("probe "))]
    file = bundle / FOLDER / f"{name}.png"
    with atomic(file) as unfinished:
        Image.fromarray(pixels).save(unfinished, "PNG", optimize=False)
    return file.relative_to(bundle).as_posix()
