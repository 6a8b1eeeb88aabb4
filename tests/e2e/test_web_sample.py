"""The web sample in headless Chromium (``make e2e``): it checks itself, and searches without a network."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from compress.contracts import Preprocess
from compress.data.images import read_image
from compress.gallery.store import GALLERY, read_gallery
from tests._command import REPOSITORY
from tests.conftest import Finished
from tests.e2e.conftest import SIZES, WEB
from validators import run_artifact

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

ARTIFACTS = {"tflite": "artifacts/tiny.fp32.tflite", "onnx": "artifacts/tiny.fp32.onnx"}
TOP = 12
one_format = pytest.mark.parametrize("site", ["tflite"], indirect=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module", params=ARTIFACTS)
def site(request: pytest.FixtureRequest, finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert (WEB / "node_modules").is_dir(), f"no npm packages in {WEB}: 'make web' fetches them"
    folder = tmp_path_factory.mktemp(f"site-{request.param}")
    command = [sys.executable, "examples/web/make_site.py", finished.folder, WEB, folder, ARTIFACTS[request.param]]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return folder


@pytest.fixture
def serve(browser: Browser) -> Iterator[Callable[[Path, str], Page]]:
    """Open a folder's page as ``desktop`` or ``phone``. At the end: no script error, no request elsewhere."""
    opened: list[tuple[Page, http.server.ThreadingHTTPServer, list[str], list[str]]] = []

    def start(folder: Path, size: str = "desktop") -> Page:
        handler = functools.partial(Quiet, directory=folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        width, height = SIZES[size]
        page = browser.new_page(viewport={"width": width, "height": height}, bypass_csp=True)
        address = f"http://127.0.0.1:{server.server_port}/"
        errors: list[str] = []
        elsewhere: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda each: None if address in each.url else elsewhere.append(each.url))
        opened.append((page, server, errors, elsewhere))
        page.goto(address)
        page.locator("#status:not(:text('Loading'))").wait_for()
        return page

    yield start
    for page, server, errors, elsewhere in opened:
        page.context.set_offline(False)
        page.close()
        server.shutdown()
        server.server_close()
        assert errors == []
        assert elsewhere == []


@pytest.fixture
def photograph(finished: Finished, tmp_path: Path) -> Path:
    """One of the gallery's pictures, larger and without JPEG, whose decoders differ in the last bit."""
    path = tmp_path / "photo.png"
    Image.open(finished.recipe.parent / "photos/digit 3/000004.jpg").resize((320, 241)).save(path)
    return path


@pytest.mark.parametrize("size", SIZES)
def test_a_photo_is_searched_without_a_network(
    site: Path,
    size: str,
    serve: Callable[..., Page],
    finished: Finished,
    photograph: Path,
    complaints: Callable[[Page], list[str]],
) -> None:
    page = serve(site, size)
    assert page.locator("#status").inner_text() == "Ready: 60 images."
    checks = page.locator("#checks li").all_text_contents()
    assert [line.split()[:2] for line in checks] == [["passed", "min_cosine"], ["passed", "golden_neighbours"]]
    page.context.set_offline(True)
    page.set_input_files("#photo", photograph)
    page.get_by_text("12 nearest of 60 images").wait_for()

    manifest = json.loads((site / "bundle.json").read_text(encoding="utf-8"))
    pixels = read_image(photograph, preprocess_of(manifest["preprocess"]))
    artifact = finished.folder / json.loads((site / "site.json").read_text(encoding="utf-8"))["artifact"]
    gallery = read_gallery(finished.folder / GALLERY)
    distances = np.linalg.norm(gallery.features - run_artifact(artifact, pixels[None]), axis=1)
    rows = np.argsort(distances, kind="stable")[:TOP]
    shown = [item.locator("span").all_inner_texts() for item in page.locator("#results li").all()]
    assert [(label, name) for label, name, _ in shown] == [(gallery.labels[row], gallery.names[row]) for row in rows]
    assert [float(far) for *_, far in shown] == pytest.approx(distances[rows].tolist(), abs=1e-3)
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    page.wait_for_function(f"({loaded})([...document.querySelectorAll('li img, #query')])")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert complaints(page) == []


def preprocess_of(written: dict[str, Any]) -> Preprocess:
    H, W = written["resize"]
    return Preprocess((H, W), written["crop"], tuple(written["mean"]), tuple(written["std"]))


def pictures(source: Path, folder: Path) -> dict[str, tuple[Path, int]]:
    """Files of every kind that a resize must get right, each with the largest error of a pixel."""
    picture = Image.open(source).convert("RGB")
    large, small = picture.resize((333, 250)), picture.resize((20, 15))
    clear = large.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(large.size))
    turned = large.getexif()
    turned[0x0112] = 6
    saved = {"large.png": 0, "small.png": 0, "thin.png": 0, "clear.png": 2, "turned.jpg": 3}
    large.save(folder / "large.png")
    small.save(folder / "small.png")
    large.crop((0, 110, 333, 141)).save(folder / "thin.png")
    clear.save(folder / "clear.png")
    large.save(folder / "turned.jpg", quality=95, subsampling=0, exif=turned)
    return {name: (folder / name, error) for name, error in saved.items()}


@one_format
def test_the_page_gives_the_pixels_that_the_training_saw(
    site: Path, serve: Callable[..., Page], photograph: Path, tmp_path: Path
) -> None:
    page = serve(site)
    seen = 0
    for name, (file, error) in pictures(photograph, tmp_path).items():
        for size, crop in (((32, 32), "none"), ((24, 40), "center"), ((48, 17), "center"), ((40, 64), "pad")):
            mean = (0.3, 0.5, 0.7)
            how = {"resize": size, "crop": crop, "mean": mean, "interpolation": "bilinear", "antialias": True}
            found = pixels_of(page, file, how).reshape(*size, 3)
            wanted = read_image(file, Preprocess(size, crop, mean, (1, 1, 1))).astype(int)  # type: ignore[arg-type]
            assert np.abs(found - wanted).max() <= error, (name, size, crop)
            assert np.abs(found - wanted[:, ::-1]).max() > error + 3, "the control: a mirrored image"
            seen += 1
    assert seen == 20


def pixels_of(page: Page, file: Path, how: dict[str, Any]) -> np.ndarray:
    script = """async ([bytes, how]) =>
        Array.from(await window.preprocess(new Blob([new Uint8Array(bytes)]), how))"""
    return np.array(page.evaluate(script, [list(file.read_bytes()), how]))


def changed(site: Path, tmp_path: Path, file: str, old: str, new: str) -> Path:
    """A copy of the site in which one text of a file is another."""
    folder = tmp_path / "changed"
    shutil.copytree(site, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "new",
    [
        "for (let i = 0; i < pixels.length; i += 3) [pixels[i], pixels[i + 2]] = [pixels[i + 2], pixels[i]];",
        "for (let i = 0; i < pixels.length; i++) pixels[i] /= 255;",
    ],
    ids=["blue, green, red", "divided by 255"],
)
def test_a_page_with_other_pixels_refuses_to_search(
    site: Path, new: str, serve: Callable[..., Page], tmp_path: Path
) -> None:
    old = "  return pixels;\n"
    page = serve(changed(site, tmp_path, "index.html", old, f"  {new}\n{old}"))
    assert "does not give what the bundle promises" in page.locator("#status").inner_text()
    assert "FAILED min_cosine" in page.locator("#checks").text_content()  # type: ignore[operator]
    assert page.locator("#photo").is_disabled()


@one_format
def test_a_gallery_of_another_model_is_refused(site: Path, serve: Callable[..., Page], tmp_path: Path) -> None:
    written = json.loads((site / "site.json").read_text(encoding="utf-8"))["meta"]["space_id"]
    page = serve(changed(site, tmp_path, "site.json", written, "0" * len(written)))
    assert "the gallery was made by another model" in page.locator("#status").inner_text()
    assert page.locator("#photo").is_disabled()


@one_format
def test_a_file_that_is_no_image_is_named_and_the_next_photo_works(
    site: Path, serve: Callable[..., Page], photograph: Path, tmp_path: Path
) -> None:
    page = serve(site)
    (tmp_path / "notes.jpg").write_text("no image")
    page.set_input_files("#photo", tmp_path / "notes.jpg")
    page.get_by_text("notes.jpg: this browser cannot decode it").wait_for()
    page.set_input_files("#photo", photograph)
    page.get_by_text("12 nearest of 60 images").wait_for()
