"""What ``create_model`` refuses, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import architectures
from architectures import create_model
from compress.contracts import BadInput


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("alnett", {}, "'alnett' is not one of the architectures (alnet, "),
        ("alnett", {}, "did you mean 'alnet'?"),
        ("_blocks", {}, "'_blocks' is not one of the architectures"),
        ("alnet", {"grops": 4}, "alnet.grops: unknown key; did you mean 'groups'?"),
        ("alnet", {"stem_stride": 3}, "alnet.stem_stride: 3 is wrong, input should be 1 or 2"),
        ("alnet", {"cbam": "no"}, "alnet.cbam: 'no' is wrong"),
        ("alnet", {"groups": "8"}, "alnet.groups: '8' is wrong"),
        ("alnet", {"groups": 0}, "alnet.groups: 0 is wrong"),
        ("alnet", {"reduction": -1}, "alnet.reduction: -1 is wrong"),
        ("alnet", {"widths": [16, 24, 32, 64, 96, 160, 0]}, "alnet.widths.6: 0 is wrong"),
        ("alnet", {"grops": 4, "reduction": 0}, "alnet.reduction: 0 is wrong"),
        ("mobilenet_v2", {"width": 0.5}, "mobilenet_v2.width: unknown key (there are: stem_stride)"),
        ("mobilenet_v1", {"width": 0}, "mobilenet_v1.width: 0 is wrong"),
        ("mobilenet_v3", {"size": "tiny"}, "mobilenet_v3.size: 'tiny' is wrong, input should be 'small' or 'large'"),
        ("shufflenet_v1", {"groups": 5}, "shufflenet_v1.groups: 5 is wrong"),
        ("shufflenet_v2", {"width": 0.7}, "shufflenet_v2: width: 0.7 is not one of 0.5, 1.0, 1.5, 2.0"),
    ],
)
def test_bad_input_is_one_line_that_names_the_key(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        create_model(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_wrong_options_are_both_named() -> None:
    with pytest.raises(BadInput, match=r"alnet\.reduction: .*alnet\.grops: ") as caught:
        create_model("alnet", grops=4, reduction=0)
    assert str(caught.value).count("; alnet.") == 1


def test_lists_stand_for_tuples() -> None:
    short: dict[str, Any] = {"widths": [16, 24], "strides": [1, 2], "expansions": [1, 6]}
    assert create_model("alnet", **short, head_width=64).embedding_dim == 64


def test_everything_announced_is_there() -> None:
    assert [name for name in architectures.__all__ if not hasattr(architectures, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'alnett'"):
        architectures.alnett  # noqa: B018


def test_listing_does_not_import_pytorch() -> None:
    code = "import sys, architectures; assert architectures.list_models(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
