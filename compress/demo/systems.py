"""The bundles of the search page, each with its gallery as it is on disk now."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.bundle.manifest import Manifest, read_manifest
from compress.catalogue.living_index import index_beside
from compress.commands.search import Searchable, open_bundle
from compress.contracts import BadInput, CompressError
from compress.gallery.store import GALLERY, read_gallery, read_thumbnail


@dataclass(frozen=True)
class Opened:
    """A bundle with one state of its gallery.

    Attributes:
        version: changes if the gallery's file is replaced.
        rows: the gallery's images by name.
    """

    bundle: Searchable
    version: str
    rows: dict[str, int]


class System:
    """One bundle of the page. Its gallery is read again if its file was replaced, as ``compress index`` does it."""

    def __init__(self, name: str, folder: Path, *, exact: bool, gallery: Path | None) -> None:
        """``gallery`` is a file that ``compress index`` made; None means the bundle's own.

        Raises:
            BadInput, MissingTool: as ``open_bundle``.
        """
        self.name = name
        self._folder, self._exact, self._gallery = folder, exact, gallery
        self._file = gallery or folder / GALLERY
        self._lock = threading.Lock()
        self._opened = self._open()

    def now(self) -> Opened:
        """The bundle with the gallery that is on disk now.

        Raises:
            BadInput: the file was replaced by one that is damaged or belongs to another model, or it was removed.
        """
        with self._lock:
            if self._version() != self._opened.version:
                self._opened = self._open()
            return self._opened

    def thumbnail(self, number: int, version: str | None) -> bytes | None:
        """Image ``number`` as JPEG; None if there is none, or if the gallery is no longer that of ``version``."""
        if version is not None and version != self._version():
            return None
        return read_thumbnail(self._file, number)

    def _version(self) -> str:
        """Changes with the gallery's file, and with the index beside it."""
        beside = None if self._gallery is None else index_beside(self._gallery)
        files = [self._file] if beside is None else [self._file, beside[1]]
        return ".".join(_status(file) for file in files)

    def _open(self) -> Opened:
        version = self._version()  # before it is read: if it is replaced meanwhile, it is read once more
        try:
            bundle = open_bundle(self._folder, exact=self._exact, gallery=self._gallery)
        except CompressError:
            if self._exact or self._gallery is None:
                raise
            # An index beside the gallery is older than it until 'compress index' has updated that, too.
            bundle = open_bundle(self._folder, exact=True, gallery=self._gallery)
        return Opened(bundle, version, {name: row for row, name in enumerate(bundle.gallery.names)})


def open_systems(folders: Sequence[Path], *, exact: bool, galleries: Sequence[Path]) -> list[System]:
    """Open the bundles in ``folders``, in order.

    Args:
        galleries: files that ``compress index`` made; each is searched by every bundle whose embedding space it has, or
            which was trained to search it.

    Raises:
        BadInput: a gallery is of no bundle's embedding space, or two are of one; as ``open_bundle``.
        MissingTool: as ``open_bundle``.
    """
    if len(folders) == 1 and len(galleries) == 1:
        chosen: list[Path | None] = [galleries[0]]
    else:
        spaces = [_spaces(read_manifest(folder)) for folder in folders]
        chosen = [None] * len(folders)
        for file in galleries:
            space = read_gallery(file).meta.get("space_id")
            fitting = [number for number, each in enumerate(spaces) if space in each]
            if not fitting:
                raise BadInput(f"--gallery {file}: made in the embedding space {space}, which no bundle here has")
            for number in fitting:
                if (other := chosen[number]) is not None:
                    raise BadInput(f"--gallery {file}: {folders[number]} already searches {other}; give one of them")
                chosen[number] = file
    return [
        System(name, folder, exact=exact, gallery=gallery)
        for name, folder, gallery in zip(_names(folders), folders, chosen, strict=True)
    ]


def _spaces(manifest: Manifest) -> set[str]:
    """The embedding spaces of the galleries that a bundle can search."""
    older = set() if manifest.upgrade is None else {manifest.upgrade.space_id}
    return {manifest.embedding.space_id, *older}


def _names(folders: Sequence[Path]) -> list[str]:
    """The recipes' names; a name that is there before gets a number."""
    found: list[str] = []
    for folder in folders:
        name = own = read_manifest(folder).name
        number = 2
        while name in found:
            name, number = f"{own} ({number})", number + 1
        found.append(name)
    return found


def _status(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:
        return "missing"
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
