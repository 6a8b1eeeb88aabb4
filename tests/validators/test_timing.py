"""Files are timed in a child process; what cannot be timed says so in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from compress.contracts import Candidates, CompressError, MissingTool
from exporters import export_model
from validators.timing import timer


class _Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.conv(x).mean((2, 3))


@pytest.mark.nightly
def test_every_file_of_every_group_and_a_broken_one(tmp_path: Path) -> None:
    files = [
        export_model(_Net(width).eval(), tmp_path / f"{width}.pt", input_size=(9, 12), optimize="none")
        for width in (2, 3)
    ]
    times = timer("torchscript")([Candidates((9, 12), tuple(files)), Candidates((9, 12), tuple(files[:1]))])
    assert [len(group) for group in times] == [2, 1]
    assert all(time > 0 for group in times for time in group)
    broken = tmp_path / "broken.pt"
    broken.write_bytes(files[0].read_bytes()[:500])
    with pytest.raises(CompressError, match=r"^timing files on torchscript failed: ") as error:
        timer("torchscript")([Candidates((9, 12), (broken,))])
    assert "\n" not in str(error.value)


def test_a_format_without_a_runtime() -> None:
    with pytest.raises(MissingTool, match="nothing can time no-such-format files here"):
        timer("no-such-format")
