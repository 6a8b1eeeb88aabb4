"""The guard itself must see each fault, or a pass of the other tests proves nothing."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from compress.contracts import BadInput
from tests.fuzz import _guard
from tests.fuzz._guard import guarded


def test_an_error_for_people_is_kept_and_any_other_fails() -> None:
    with guarded() as errors:
        raise BadInput("x: wrong")
    assert [str(error) for error in errors] == ["x: wrong"]
    with pytest.raises(KeyError), guarded():
        raise KeyError("x")


def test_reading_or_writing_outside_is_seen(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("private")
    with pytest.raises(AssertionError), guarded(tmp_path):
        (tmp_path / "secret").read_text()
    with pytest.raises(AssertionError), guarded(tmp_path):
        list(tmp_path.iterdir())
    with guarded(tmp_path):
        Path(__file__).read_text()


def test_a_loop_and_a_wait_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "SECONDS", 0.1)
    with pytest.raises(TimeoutError), guarded():
        all(True for _ in itertools.count())
    monkeypatch.setattr(_guard, "WAITING_SECONDS", 1)
    with pytest.raises(TimeoutError), guarded():
        time.sleep(60)


def test_much_memory_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "KILOBYTES", 100_000)
    with guarded():
        assert len(b"x" * 1_000_000) == 1_000_000
    with pytest.raises(AssertionError), guarded():
        assert len(b"x" * 300_000_000) == 300_000_000
