"""Find the photographs below a folder, and say why other files are not photographs.

Cameras, phones, network drives and photo programs store files of their own among photographs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compress.contracts import BadInput
from compress.data.formats import not_a_photograph
from compress.datasets._files import stable_id

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Files with one of these are taken for images until they are decoded; others only if their content is one."""

_SYSTEM_FOLDERS = {
    "__macosx": "left by macOS's archives",
    "@eadir": "thumbnails of a Synology NAS",
    "#recycle": "the wastebasket of a NAS",
    "@recycle": "the wastebasket of a NAS",
    "@recently-snapshot": "snapshots of a NAS",
    "$recycle.bin": "the wastebasket of Windows",
    "system volume information": "a folder of Windows",
    "lost+found": "a folder of the file system",
    "captureone": "settings and previews of Capture One",
    "ipod photo cache": "thumbnails of iTunes",
}
_SYSTEM_SUFFIXES = {".lrdata": "previews of Lightroom", ".photoslibrary": "a library of Apple Photos"}
_THUMBNAIL = ".thm"  # a JPEG that cameras write beside a video


@dataclass(frozen=True)
class Listing:
    """The files at or below a folder.

    Attributes:
        images: sorted by ``stable_id``.
        left_out: every other file, and every folder that was not entered, with the reason.
    """

    images: list[Path]
    left_out: dict[Path, str]


def find_files(folder: Path) -> list[Path]:
    """Every regular file at or below ``folder``, sorted by ``stable_id``; hidden files and folders are left out."""
    files, _ = _walk(folder)
    return files


def find_images(folder: Path) -> Listing:
    """The images at or below ``folder``: files with a suffix of ``SUFFIXES``, and others that hold an image."""
    files, left_out = _walk(folder)
    images = []
    for path in files:
        reason = _no_image(path)
        if reason is None:
            images.append(path)
        else:
            left_out[path] = reason
    return Listing(images, left_out)


def list_folders(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """The folders directly in ``folder`` that may be classes, sorted by name, and why all else there is none.

    Raises:
        BadInput: the folder cannot be read.
    """
    folders, left_out = [], {}
    try:
        for path in folder.iterdir():
            is_folder = path.is_dir()
            reason = _system(path.name, is_folder) or (None if is_folder else "is not inside a class folder")
            if reason is None:
                folders.append(path)
            else:
                left_out[path] = reason
    except OSError as error:
        raise BadInput(f"data.root: {folder.absolute()} cannot be read: {error.strerror}") from error
    return sorted(folders, key=lambda path: stable_id(path, folder)), left_out


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in ``folder``, sorted by name, without hidden ones and those of systems and programs."""
    folders, _ = list_folders(folder)
    return folders


def skipped_ids(left_out: Mapping[Path, str], root: Path) -> dict[str, str]:
    """``Splits.skipped``, sorted: folders end in a slash."""
    found = {stable_id(path, root) + "/" * path.is_dir(): reason for path, reason in left_out.items()}
    return dict(sorted(found.items()))


def _walk(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """The regular files at or below ``folder``, and what was left out unseen.

    Links to folders are followed, but no folder is entered from inside itself.
    """
    found: list[Path] = []
    left_out: dict[Path, str] = {}

    def unreadable(error: OSError) -> None:
        left_out[Path(error.filename)] = error.strerror or str(error)

    for parent, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = os.path.realpath(parent)
        entered = []
        for name in folders:
            path = Path(parent, name)
            reason = _system(name, is_folder=True)
            if reason is None and path.is_symlink() and _contains(os.path.realpath(path), here):
                reason = "a link to a folder around it"
            if reason is None:
                entered.append(name)
            else:
                left_out[path] = reason
        folders[:] = entered
        for name in files:
            path = Path(parent, name)
            reason = _system(name, is_folder=False)
            # Unlike those of Path, these raise nothing.
            if reason is None and os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
                reason = "not a regular file"
            if reason is None:
                found.append(path)
            else:
                left_out[path] = reason
    return sorted(found, key=lambda path: stable_id(path, folder)), left_out


def _system(name: str, is_folder: bool) -> str | None:
    """What a file or folder is, if its name alone shows that it holds no photographs; None otherwise."""
    if name.startswith("."):
        return "macOS's attributes of another file" if name.startswith("._") and not is_folder else "hidden"
    if not is_folder:
        return None
    return _SYSTEM_FOLDERS.get(name.lower()) or _SYSTEM_SUFFIXES.get(Path(name).suffix.lower())


def _no_image(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return None
    return "a camera's thumbnail of a video" if suffix == _THUMBNAIL else not_a_photograph(path)


def _contains(outer: str, inner: str) -> bool:
    return Path(inner).is_relative_to(outer)
