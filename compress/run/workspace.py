"""The run folder: it records which steps are finished and their results; files appear whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from compress import plugins
from compress.contracts import BadInput
from compress.system.bounded_reading import read_json
from compress.system.files import artifact_sha256, json_sha256, write_json
from compress.system.path_containment import is_file_inside, require_plain

_STATE = ".compress"


class Result(Protocol):
    """A typed result of a step, such as ``validators.results.Part``."""

    def to_json(self) -> object: ...

    @classmethod
    def model_validate_json(cls, json_data: str, /) -> Self: ...


K = TypeVar("K", bound=Result)


class Workspace:
    """One recipe's folder; a context manager that keeps other runs out.

    A finished step leaves ``.compress/steps/<step>.json`` with its key (content, options, tool versions), its
    JSON result and the sha256 of each file it wrote. The same key and intact files mean it need not run again.
    Progress within a step is kept in ``.compress/scratch/<step>-<key>``, so that a killed run can resume.

    Attributes:
        folder: the bundle's folder.
        state: folder of files that the run needs and an app does not.
    """

    def __init__(self, folder: Path, recipe_name: str, *, fresh: bool = False) -> None:
        """Claim ``folder``.

        Args:
            fresh: forget the finished steps of this recipe.

        Raises:
            BadInput: the folder holds something else, or another recipe's run.
        """
        self.folder = folder
        self.state = folder / _STATE
        self._recipe_name = recipe_name
        self._fresh = fresh
        self._lock = FileLock(self.state / "lock", timeout=0)  # the system releases it if a run is killed
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"--out {folder}: this is a file; give a folder")
        owner = self._owner()
        if owner is None and folder.exists() and any(folder.iterdir()):
            raise BadInput(f"--out {folder}: the folder is not empty and no run of Compress made it; choose another")
        if owner is not None and owner != recipe_name:
            raise BadInput(
                f"--out {folder}: belongs to the recipe '{owner}', not '{recipe_name}'; choose another folder"
            )

    def _owner(self) -> str | None:
        marker = self.state / "run.json"
        if not is_file_inside(self.folder, f"{_STATE}/run.json"):
            return None
        # Through a link in the folder the run would write or delete files elsewhere.
        require_plain(self.folder)
        try:
            return str(read_json(marker)["recipe"])
        except (BadInput, KeyError, TypeError) as error:
            raise BadInput(f"{marker}: damaged; delete {self.folder} or choose another --out") from error

    def __enter__(self) -> Workspace:
        self.state.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise BadInput(
                f"--out {self.folder}: another run is working in this folder; wait for it or choose another"
            ) from error
        if self._fresh:
            for state in ("steps", "scratch", "embeddings"):
                shutil.rmtree(self.state / state, ignore_errors=True)
        write_json(self.state / "run.json", {"recipe": self._recipe_name})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def reuse(self, step: str, key: Mapping[str, Any], outputs: Sequence[Path], build: Callable[[Path], Any]) -> Any:
        """Give the JSON result of ``build(scratch folder)``, or that of an earlier run with the same key.

        ``build`` writes the ``outputs`` (files or folders), each atomically.
        """
        digest = json_sha256(key)
        stamp_file = self.state / "steps" / f"{step}.json"
        stamp = _read_json(stamp_file)
        if stamp.get("key") == digest and stamp.get("outputs") == self._hashes(outputs):
            return stamp["result"]
        scratch = self.state / "scratch" / f"{step}-{digest[:12]}"
        for abandoned in scratch.parent.glob(f"{step}-*"):
            if abandoned != scratch:
                shutil.rmtree(abandoned)
        scratch.mkdir(parents=True, exist_ok=True)
        # Plain JSON values, so that a fresh and a reused result are equal.
        result = json.loads(json.dumps(build(scratch)))
        write_json(stamp_file, {"key": digest, "outputs": self._hashes(outputs), "result": result})
        shutil.rmtree(scratch)
        return result

    def reuse_as(
        self, kind: type[K], step: str, key: Mapping[str, Any], outputs: Sequence[Path], build: Callable[[Path], K]
    ) -> K:
        """As ``reuse``, for a typed result; if another version stored a different type, the step is run again."""
        found = self.reuse(step, key, outputs, lambda scratch: build(scratch).to_json())
        try:
            return kind.model_validate_json(json.dumps(found))
        except ValidationError:
            (self.state / "steps" / f"{step}.json").unlink()
            found = self.reuse(step, key, outputs, lambda scratch: build(scratch).to_json())
            return kind.model_validate_json(json.dumps(found))

    def _hashes(self, outputs: Sequence[Path]) -> dict[str, str | None]:
        return {str(o.relative_to(self.folder)): artifact_sha256(o) if o.exists() else None for o in outputs}


def code_key(*components: object) -> dict[str, dict[str, str]]:
    """The part of a step's key for components of other packages: their code; empty for our own components."""
    found = plugins.code_of(*components)
    return {"code": found} if found else {}


def _read_json(path: Path) -> dict[str, Any]:
    """Read a step's record; an unreadable record means that the step is not finished."""
    try:
        value = read_json(path)
    except BadInput:
        return {}
    return value if isinstance(value, dict) else {}
