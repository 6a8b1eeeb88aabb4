"""Where photographs come from: folders, files, tables of paths, and addresses of other file systems."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import fs, parquet

from compress.catalogue.photographs import Photographs, file_hashes, find_photographs
from compress.catalogue.remote import RemoteFile
from compress.commands.embed import embed
from compress.contracts import BadInput
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
    assert not {"secret", "hidden"} & set(str(caught.value).replace("=", " ").replace("@", " ").split())


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The options of an address on a server of this machine that speaks S3."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto, which is not installed, is the server: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"endpoint_override=127.0.0.1:{port}&scheme=http&region=eu-west-1&allow_bucket_creation=true"
    finally:
        server.kill()
        server.wait()


@pytest.mark.nightly
def test_photographs_on_s3_have_the_features_of_their_copies_here(
    s3: str, finished: Finished, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "thing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    system, _ = fs.FileSystem.from_uri(f"s3://shop?{s3}")
    system.create_dir("shop")
    fs.copy_files(str(photos), "shop/2024", destination_filesystem=system)
    with system.open_output_stream("shop/2024/broken.jpg") as file:
        file.write(b"\xff\xd8\xff none")
    expected = embed(finished.folder, [photos], tmp_path / "here.npy", artifact="tiny.fp32.onnx", workers=1)
    for ray in (None, "local"):
        out = tmp_path / f"{ray}.npy"
        job = embed(finished.folder, [f"s3://shop/2024?{s3}"], out, artifact="tiny.fp32.onnx", workers=1, ray=ray)
        assert (job.images, list(job.left_out)) == (expected.images, ["broken.jpg"])
        assert np.array_equal(np.load(out), np.load(tmp_path / "here.npy"))
        assert out.with_suffix(".csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    with pytest.raises(BadInput, match=r"^s3://nobody/x: (there is no such folder|cannot be read)"):
        find_photographs([f"s3://nobody/x?{s3}"])
    assert os.environ["AWS_ACCESS_KEY_ID"] not in str(job.left_out)
