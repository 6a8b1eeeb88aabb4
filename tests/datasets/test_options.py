"""Every data set's options as a recipe checks them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compress import plugins
from compress.contracts import BadInput, Dataset
from compress.options import build

NAMES = plugins.names(Dataset)

WRONG: list[dict[str, Any]] = [
    {"image_size": 7},
    {"image_size": 32.5},
    {"crop": "middle"},
    {"mean": [123.7, 116.3, 103.5]},
    {"std": [0.2, 0.0, 0.2]},
    {"std": [0.2, 0.2]},
    {"validation_share": 1.0},
    {"max_skipped_share": -0.1},
    {"cache": "memory"},
    {"test_share": 0},
    {"download": "yes"},
    {"no_such_option": 1},
]


def check(name: str, options: dict[str, Any]) -> Dataset:
    return build(plugins.find(Dataset, name), options, "data")


def test_all_data_sets_are_here() -> None:
    assert NAMES == [
        "caltech256",
        "cifar10",
        "classic_oxford5k",
        "classic_paris6k",
        "corel5k",
        "digits",
        "emoji",
        "fashion_mnist",
        "image_folder",
        "image_lists",
        "image_table",
        "mnist",
        "oxbuild5k",
        "paris6k",
        "places",
        "roxford5k",
        "rparis6k",
        "sun397",
        "svhn",
        "webdataset",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_defaults_pass_and_wrong_values_do_not(name: str) -> None:
    dataset = check(name, {"validation_share": 0, "mean": [0, 0.5, 1]})
    assert check(name, json.loads(json.dumps(dataset.options()))) == dataset
    for options in WRONG:
        with pytest.raises(BadInput):
            check(name, options)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_a_data_set_that_is_not_there_says_where_it_looked_and_how_to_get_it(name: str, tmp_path: Any) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(BadInput) as caught:
        plugins.find(Dataset, name)(root=str(root)).splits(0)  # type: ignore[attr-defined,call-arg]
    message = str(caught.value)
    assert message.startswith(f"data.root: {name} was not found; looked in {root}")
    assert any(remedy in message for remedy in ("https://", "http://", "CLASS/"))
    assert "\n" not in message
    assert not root.exists()


def test_digits_take_no_root() -> None:
    with pytest.raises(BadInput):
        check("digits", {"root": "data"})
