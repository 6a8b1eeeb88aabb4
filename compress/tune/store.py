"""The finished trials of a search, in Optuna's journal file, which several processes may share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from compress.contracts import BadInput
from compress.system.files import write_json
from compress.tune.outcome import Outcome
from compress.tune.space import Space
from compress.tune.suggest import shown_to_optuna

_STUDY, _MARKER = "study.journal", "tune.json"
_STATES = {"measured": "COMPLETE", "stopped early": "PRUNED"}


class Store:
    """A search's folder.

    ``study.journal`` is an Optuna study; every trial's own attributes hold its outcome. ``trials/0007`` is the folder
    of a trial's run.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Open the folder, or make it.

        Args:
            identity: what makes a search; another one's folder is refused.

        Raises:
            BadInput: the folder holds something else or another search.
        """
        self.folder = folder
        marker = folder / _MARKER
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"--out {folder}: this is a file; give a folder")
        if folder.exists() and not marker.is_file() and any(folder.iterdir()):
            raise BadInput(f"--out {folder}: the folder is not empty and no search made it; choose another")
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not marker.is_file():
                write_json(marker, dict(identity))
            known = json.loads(marker.read_text(encoding="utf-8"))
            for key, value in identity.items():
                if known.get(key) != json.loads(json.dumps(value)):
                    raise BadInput(
                        f"--out {folder}: holds a search with another {key}; choose another folder, or remove this one"
                    )
            self._study = _opened(folder / _STUDY)

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def finished(self) -> dict[int, tuple[Outcome, dict[str, Any]]]:
        """Every finished trial by number, each with its values as ``Space.with_values`` takes them."""
        found = {}
        for trial in self._study.get_trials(deepcopy=False):
            outcome = Outcome.from_json(trial.user_attrs["outcome"])
            found[outcome.number] = outcome, dict(trial.user_attrs["values"])
        return dict(sorted(found.items()))

    def add(self, outcome: Outcome, space: Space, values: Mapping[str, Any]) -> None:
        """Record a finished trial."""
        import optuna

        params, distributions = shown_to_optuna(space, values)
        scores = (outcome.mean_ap, outcome.ms, outcome.bytes)
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[_STATES.get(outcome.state, "FAIL")],
                values=[score for score in scores if score is not None] if outcome.state == "measured" else None,
                params=params,
                distributions=distributions,
                user_attrs={"outcome": outcome.to_json(), "values": dict(values)},
            )
        )

    @contextmanager
    def claimed(self, number: int) -> Iterator[bool]:
        """Within the block, no other process works on this trial; gives False if one does already.

        A killed process loses its claim.
        """
        lock = FileLock(self.folder / "trials" / f"{number:04d}.lock", timeout=0)
        (self.folder / "trials").mkdir(exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def _opened(path: Path) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.study import StudyDirection

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]  # mAP, ms, bytes
    return optuna.create_study(study_name="tune", storage=storage, directions=directions, load_if_exists=True)
