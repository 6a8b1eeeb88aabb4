"""Where photographs come from: folders, files, tables of paths, and addresses of other file systems."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from compress.catalogue.photographs import Photographs, file_hashes, find_photographs
from compress.catalogue.remote import RemoteFile
from compress.commands.embed import embed
from compress.contracts import BadInput
from tests.catalogue._s3 import PAGE, served
from tests.conftest import Finished


@pytest.fixture
def photos(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    for label in range(2):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 3)
    return tmp_path / "photos"


def labelled(found: Photographs) -> dict[str, str]:
    return {each.name: each.label for each in found.found}


def test_a_table_lists_photographs_with_labels(photos: Path) -> None:
    table = photos / "list.csv"
    table.write_text(
        "label,path,colour\nzero,digit 0/000001.jpg,red\n,./digit 1/000002.jpg,\nzero,gone.jpg,\n"
        f"far,{photos.parent / 'photos/digit 1/000000.jpg'},\nzero,digit 0/000001.jpg,\n",
        encoding="utf-8",
    )
    found = find_photographs([table])
    absolute = (photos / "digit 1/000000.jpg").as_posix()
    assert labelled(found) == {"digit 0/000001.jpg": "zero", "digit 1/000002.jpg": "", absolute: "far"}
    assert found.left_out == {"gone.jpg": f"listed in {table}, but there is no such photograph"}
    assert set(labelled(find_photographs([table], "none")).values()) == {""}

    # Without labels those of folders hold; a second place comes beside the first.
    rows = pyarrow.table({"path": ["digit 0/000001.jpg", "digit 0/000002.jpg"]})
    parquet.write_table(rows, photos / "list.parquet")
    both = find_photographs([str(photos / "list.parquet"), photos / "digit 1"])
    assert labelled(both) == {
        "digit 0/000001.jpg": "digit 0",
        "digit 0/000002.jpg": "digit 0",
        **{f"digit 1/00000{number}.jpg": "digit 1" for number in range(3)},
    }
    with pytest.raises(BadInput, match=r"has the same name as .* \(digit 0/000001\.jpg\); rename one"):
        find_photographs([photos / "list.parquet", photos / "digit 0"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na.jpg\n", r"list\.csv: has no column 'path'"),
        ("path\n \n", r"list\.csv:2: path '' must be the path or the address of a photograph"),
        ("path,label\na.jpg,one\na.jpg,two\n", r"list\.csv:3: a\.jpg is listed twice, as 'one' and as 'two'"),
        ("path\ngone.jpg\n", r"list\.csv: holds no photographs \(1 other files\)"),
        ("path\nnowhere://b/a.jpg\n", r"nowhere://b: no file system of this kind can be read \(.*\); give a folder"),
    ],
)
def test_an_unusable_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        find_photographs([tmp_path / "list.csv"])
    assert "\n" not in str(caught.value)


def test_an_address_holds_what_the_folder_holds(photos: Path, tmp_path: Path) -> None:
    (photos / "notes.txt").write_text("none", encoding="utf-8")
    (photos / ".hidden.jpg").write_bytes(b"")
    (photos / "a#1 %20.jpg").write_bytes((photos / "digit 0/000000.jpg").read_bytes())
    here, there = find_photographs([photos]), find_photographs([f"file://{photos}"])
    assert labelled(there) == labelled(here) and len(here.found) == 7
    assert list(there.left_out) == list(here.left_out) == [".hidden.jpg", "notes.txt"]
    assert file_hashes(there.found) == file_hashes(here.found)
    (one,) = find_photographs([f"file://{photos}/digit 0/000000.jpg"]).found
    assert one.name == "000000.jpg" and isinstance(one.path, RemoteFile)
    several = find_photographs([f"file://{photos}/digit 0", f"file://{photos}/digit 1"])
    assert labelled(several) == {name: label for name, label in labelled(here).items() if "/" in name}
    (tmp_path / "list.csv").write_text(f"path,label\nfile://{photos}/digit 0/000000.jpg,zero\n", encoding="utf-8")
    assert labelled(find_photographs([tmp_path / "list.csv"])) == {f"file://{photos}/digit 0/000000.jpg": "zero"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("file:///nowhere/at/all", "^file:///nowhere/at/all: there is no such folder or photograph$"),
        ("ftp://user:secret@host/x?key=hidden", r"^ftp://host: no file system of this kind can be read .*s3://bucket"),
        ("file:///list.csv", "^file:///list.csv: a table must be on this machine; its paths may be addresses$"),
    ],
)
def test_an_unusable_address_is_one_line_without_secrets(address: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        find_photographs([address])
    assert not [word for word in ("secret", "hidden", "\n") if word in str(caught.value)]


@pytest.fixture
def s3(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the photographs on a server that speaks S3, and its options."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "thing")
    shutil.copytree(photos, photos.parent / "served/shop/2024")
    with served(photos.parent / "served") as options:
        yield f"s3://shop/2024?{options}"


def test_a_bucket_holds_what_the_folder_holds(s3: str, photos: Path) -> None:
    here, there = find_photographs([photos]), find_photographs([s3])
    assert labelled(there) == labelled(here) and len(there.found) == 6 > PAGE
    assert file_hashes(there.found) == file_hashes(here.found)
    assert str(there.found[0].path) == "s3://shop/2024/digit 0/000000.jpg"
    (one,) = find_photographs([s3.replace("2024", "2024/digit 1/000002.jpg")]).found
    assert file_hashes([one]) == file_hashes([here.found[-1]])
    for place in ("shop/2025", "nobody/2024"):
        with pytest.raises(BadInput, match=f"^s3://{place}: (there is no such folder|cannot be read)") as caught:
            find_photographs([s3.replace("shop/2024", place)])
        assert "endpoint" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.nightly
@pytest.mark.parametrize("ray", [None, "local"])
def test_photographs_in_a_bucket_have_the_features_of_those_here(
    s3: str, ray: str | None, finished: Finished, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "served/shop/2024/broken.jpg").write_bytes(b"\xff\xd8\xff none")
    options: dict[str, Any] = {"artifact": "tiny.fp32.onnx", "workers": 2}
    embed(finished.folder, [photos], tmp_path / "here.npy", **options)
    one = s3.replace("2024", "2024/digit 1/000002.jpg")
    (tmp_path / "list.csv").write_text(f"path,label\n{one},one\n", encoding="utf-8")
    job = embed(finished.folder, [s3], tmp_path / "there.npy", ray=ray, **options)
    assert (job.images, list(job.left_out)) == (6, ["broken.jpg"])
    for suffix in (".npy", ".csv"):
        assert (tmp_path / f"there{suffix}").read_bytes() == (tmp_path / f"here{suffix}").read_bytes()
    embed(finished.folder, [tmp_path / "list.csv"], tmp_path / "listed.npy", ray=ray, **options)
    assert np.array_equal(np.load(tmp_path / "listed.npy")[0], np.load(tmp_path / "here.npy")[-1])
