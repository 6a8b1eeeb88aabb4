"""Finished steps are reused, changed or damaged ones are done again, and folders of others are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.run.workspace import Workspace
from compress.system.files import json_sha256, write_json


class Step:
    """Writes a file and counts how often it did."""

    def __init__(self, output: Path) -> None:
        self.output, self.runs = output, 0

    def __call__(self, scratch: Path) -> dict[str, int]:
        self.runs += 1
        self.output.write_text("result")
        return {"answer": 42}


def test_a_finished_step_is_reused_until_its_key_or_its_file_changes(tmp_path: Path) -> None:
    step = Step(tmp_path / "file")

    def reuse(key: str, *, fresh: bool = False) -> int:
        with Workspace(tmp_path, "r", fresh=fresh) as work:
            assert work.reuse("step", {"key": key}, [step.output], step) == {"answer": 42}
        return step.runs

    assert [reuse("a"), reuse("a"), reuse("b"), reuse("b")] == [1, 1, 2, 2]
    step.output.write_text("damaged")
    assert reuse("b") == 3
    step.output.unlink()
    assert reuse("b") == 4
    (tmp_path / ".compress/steps/step.json").write_text('{"key": ')
    assert reuse("b") == 5
    assert reuse("b", fresh=True) == 6


def test_scratch_survives_a_failure_and_goes_with_another_key(tmp_path: Path) -> None:
    seen: list[bool] = []

    def build(scratch: Path) -> None:
        seen.append((scratch / "half").exists())
        (scratch / "half").touch()
        if len(seen) < 3:
            raise KeyboardInterrupt

    for key in ("a", "a", "b", "b"):
        try:
            with Workspace(tmp_path, "r") as work:
                work.reuse("step", {"key": key}, [], build)
        except KeyboardInterrupt:
            continue
    # Interrupted, resumed, then another key starts afresh; the last run reuses the finished step.
    assert seen == [False, True, False]
    assert not list((tmp_path / ".compress/scratch").iterdir())


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").touch()
    with pytest.raises(BadInput, match="not empty"):
        Workspace(theirs, "r")
    with Workspace(tmp_path / "run", "first"):
        pass
    with pytest.raises(BadInput, match="belongs to the recipe 'first'"):
        Workspace(tmp_path / "run", "second")
    with pytest.raises(BadInput, match="this is a file"):
        Workspace(theirs / "thesis.tex", "r")
    (tmp_path / "run/.compress/run.json").write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        Workspace(tmp_path / "run", "first")


def test_two_runs_in_one_folder_exclude_each_other(tmp_path: Path) -> None:
    with Workspace(tmp_path, "r"), pytest.raises(BadInput, match="another run"), Workspace(tmp_path, "r"):
        pass
    with Workspace(tmp_path, "r"):  # and the lock goes with its holder
        pass


def test_keys_do_not_depend_on_the_order_of_their_parts() -> None:
    assert json_sha256({"a": 1, "b": [1, 2]}) == json_sha256({"b": [1, 2], "a": 1})
    assert json_sha256({"b": [1, 2]}) != json_sha256({"b": [2, 1]})


def test_numbers_that_are_not_json_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"value": float("nan")})
    assert not (tmp_path / "file.json").exists()


@pytest.mark.parametrize("name", ["checkpoints", "x", ".compress/steps", ".compress/lock"])
def test_an_output_folder_that_holds_a_link_is_not_written(tmp_path: Path, name: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    with Workspace(folder, "r"):
        pass
    if (folder / name).exists():
        (folder / name).unlink()
    (folder / name).symlink_to(outside)
    with pytest.raises(BadInput, match=f"{name}: a link"):
        Workspace(folder, "r", fresh=True)
    assert list(outside.iterdir()) == []


def test_the_state_of_a_run_is_not_read_through_a_link(tmp_path: Path) -> None:
    with Workspace(tmp_path / "other", "r"):
        pass
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".compress").symlink_to(tmp_path / "other" / ".compress")
    with pytest.raises(BadInput, match="the folder is not empty"):
        Workspace(tmp_path / "run", "r")
