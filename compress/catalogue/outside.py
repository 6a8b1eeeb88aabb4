"""Keep a bundle's files apart from the user's own: what is written, and what is indexed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.catalogue.remote import is_address
from compress.contracts import BadInput


def require_outside(folder: Path, out: Path, places: Sequence[Path | str]) -> None:
    """Raise BadInput if ``out`` or a place with photographs lies in the bundle in ``folder``, or a place holds it."""
    bundle = folder.resolve()
    if out.resolve().is_relative_to(bundle):
        raise BadInput(f"--out {out}: lies inside the bundle, whose files are fixed; choose a place beside it")
    for place in places:
        here = Path(place).resolve()
        inside = here.is_relative_to(bundle)
        if not is_address(place) and (inside or bundle.is_relative_to(here)):
            what = "lies inside the bundle" if inside else f"holds the bundle {folder}"
            raise BadInput(f"{place}: {what}, whose pictures are the run's; give folders of your own photographs")
