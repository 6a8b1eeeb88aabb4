"""Show the images on which artifacts differ most from PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from compress.report.numbers import cosine
from compress.report.pictures import Picture, picture
from compress.report.source import Source


@dataclass(frozen=True)
class Worst:
    """One image and the artifacts whose worst image it is, each with its cosine."""

    name: str
    picture: Picture | None
    artifacts: tuple[tuple[str, str], ...]


def worst_images(source: Source) -> list[Worst]:
    """Collect the artifacts' worst images, the lowest cosine first."""
    by_image: dict[str, list[tuple[float, str, Picture | None]]] = {}
    for entry in source.entries:
        parity = entry.parity
        if parity is not None and parity.worst_image is not None and parity.min_cosine is not None:
            content = source.file(parity.worst_image_file)
            shown = picture(content) if content is not None else None
            found = (parity.min_cosine, source.name_of(entry), shown)
            by_image.setdefault(parity.worst_image, []).append(found)
    images = sorted(by_image.items(), key=lambda item: min(value for value, _, _ in item[1]))
    return [
        Worst(
            name,
            next((shown for _, _, shown in found if shown is not None), None),
            tuple((artifact, cosine(value)) for value, artifact, _ in sorted(found, key=lambda each: each[:2])),
        )
        for name, found in images
    ]
