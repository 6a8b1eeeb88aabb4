"""The errors a user can act on, with the exit code of the command line."""

from __future__ import annotations

from typing import ClassVar


class CompressError(Exception):
    """An error a user can act on. The message is one line: file, key, value, remedy."""

    exit_code: ClassVar[int] = 1


class BadInput(CompressError):
    """A recipe, data set, checkpoint or bundle is wrong (exit code 2)."""

    exit_code = 2


class MissingTool(CompressError):
    """The machine lacks a library, a data set download or an operating system (exit code 3)."""

    exit_code = 3
