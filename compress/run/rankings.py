"""Write ``rankings.json``: the search results of the PyTorch model and of every artifact, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.bundle.rankings import RANKINGS, Rankings, RankingsFile
from compress.gallery.store import GALLERY, Gallery
from compress.run.check_artifact import Checked
from compress.run.check_context import CheckContext
from compress.run.compatibility import SOURCE
from compress.system import environment
from compress.system.files import artifact_sha256, write_text
from compress.system.progress import say


def write_rankings(context: CheckContext, checked: Sequence[Checked], gallery: Gallery, thumbnail: int) -> None:
    """Write the file into the bundle.

    Args:
        thumbnail: longer side of the queries' pictures in pixels.
    """
    ranker = Rankings(context.held_out, gallery, context.model.classes, context.model.embedding)

    def build(_: Path) -> RankingsFile:
        say("report: pictures and rankings")
        return ranker.file(thumbnail, (ranker.of(context.reference, SOURCE, None),))

    pictures = {"thumbnail": thumbnail, "writer": environment.versions(["pillow"])}
    key = {**context.key, "gallery": artifact_sha256(context.work.folder / GALLERY), **pictures}
    found = context.work.reuse_as(RankingsFile, "rankings", key, [], build)
    models = (*found.models, *(model for each in checked for model in each.ranked))
    text = found.model_copy(update={"models": models}).model_dump_json(by_alias=True)
    write_text(context.work.folder / RANKINGS, text + "\n")
