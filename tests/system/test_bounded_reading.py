"""Files of strangers are read with limits, and the reason is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.system.bounded_reading import (
    DEPTH,
    LARGEST,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    require_plain_values,
)

REFUSED = {
    "nested a little too deep": ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "nested deeper"),
    "nested far too deep": ("[" * 100_000, "nested deeper"),
    "objects in objects": ('{"a":' * 5_000 + "1" + "}" * 5_000, "nested deeper"),
    "10**5000": ("1" + "0" * 5_000, "digits"),
    "2**63": (str(LARGEST + 1), "64 bits"),
    "NaN": ("NaN", "nan is no number"),
    "infinity": ("-Infinity", "-inf is no number"),
    "too large a float": ("1e999", "inf is no number"),
    "a key twice": ('{"a": 1, "b": 2, "a": 3}', "'a' is listed twice"),
    "half a character": (r'["\ud800"]', "no Unicode"),
    "half a character as key": (r'{"\ud800": 1}', "no Unicode"),
    "no JSON": ("{", "Expecting"),
    "empty": ("", "Expecting"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_json_beyond_the_limits(tmp_path: Path, what: str) -> None:
    text, reason = REFUSED[what]
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(BadInput, match=reason) as caught:
        read_json(file)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_json_within_the_limits(tmp_path: Path) -> None:
    deep = "[" * (DEPTH - 1) + "]" * (DEPTH - 1)
    value = parse_json(f'{{"a": {deep}, "b": [{LARGEST}, -{LARGEST}, 1e308, null, true, "\\ud83d\\ude00é"]}}')
    assert value["b"] == [LARGEST, -LARGEST, 1e308, None, True, "😀é"]


def test_the_size_of_a_file_is_limited(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"12345")
    assert read_bytes(file, 5) == b"12345"
    with pytest.raises(BadInput, match="larger than 4 bytes"):
        read_bytes(file, 4)
    file.write_bytes(b"ab\xff")
    with pytest.raises(BadInput, match="byte 2 is not UTF-8"):
        read_text(file, 9)


@pytest.mark.parametrize("name", ["fifo", "folder", "missing", "n" * 300])
def test_what_is_no_file_blocks_nothing(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match="cannot be read"):
        read_bytes(tmp_path / name, 9)


def test_values_that_repeat_themselves() -> None:
    laugh: list[object] = ["ha"]
    for _ in range(50):
        laugh = [laugh, laugh]
    with pytest.raises(ValueError, match="more than 1,000 values"):
        require_plain_values(laugh, most=1000)
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="nested deeper"):
        require_plain_values(circle)


@pytest.mark.parametrize("value", [b"bytes", {1}, 1j, {1: 2}, {None: 1}])
def test_values_that_json_does_not_have(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON does not have|no text"):
        require_plain_values([value])
