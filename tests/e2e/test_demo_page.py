"""The search page in headless Chromium (``make e2e``): the user's way through it, and three hostile uploads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from PIL import Image

from compress.commands.index import index
from tests._command import start
from tests.conftest import Finished
from tests.e2e.conftest import SIZES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def address(finished: Finished) -> Iterator[str]:
    with start("demo", finished.folder, "--port", "0") as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
        process.terminate()


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    """The opened page. At the end: no script error, no request elsewhere, nothing wider than the window."""
    width, height = request.param
    opened = browser.new_page(viewport={"width": width, "height": height})
    errors: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda each: asked.append(each.url))
    opened.goto(address)
    opened.wait_for_selector("#artifacts input", state="attached")
    yield opened
    assert errors == []
    assert [url for url in asked if not url.startswith((address, f"blob:{address}"))] == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()


@pytest.fixture
def picture(finished: Finished) -> Path:
    return finished.recipe.parent / "photos/digit 3/000004.jpg"


def search(page: Page, file: Path) -> None:
    page.set_input_files("#file", file)


def only(page: Page, *engines: str) -> None:
    """Tick these, as ``FILE on RUNTIME``, and no others; on a phone the list must be opened first."""
    page.locator("#choose").evaluate("each => { each.open = true; }")
    for box in page.locator(".choice:has(input:enabled)").all():
        box.locator("input").set_checked(box.locator("span").inner_text() in engines)


def test_a_picture_is_searched_and_artifacts_switched(page: Page, picture: Path) -> None:
    only(page, "tiny.fp32.onnx on onnxruntime", "tiny.fp32.tflite on litert")
    page.fill("#top", "5")
    search(page, picture)
    page.get_by_text("Done: 2 artifacts.").wait_for()
    assert page.locator(".column h2").all_inner_texts() == [
        "tiny.fp32.onnx on onnxruntime",
        "tiny.fp32.tflite on litert",
    ]
    assert page.locator(".column li").count() == 10
    assert "ms network" in page.locator(".times").first.inner_text()
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert page.locator("li img, #preview").evaluate_all(loaded)
    both = [column.locator("li").all_inner_texts() for column in page.locator(".column").all()]
    assert both[0][0].split()[:2] == both[1][0].split()[:2]
    only(page, "tiny.fp32.tflite on litert")
    page.get_by_text("Done: 1 artifact.").wait_for()
    assert page.locator(".column h2").all_inner_texts() == ["tiny.fp32.tflite on litert"]
    assert page.locator(".column li").count() == 5


def test_a_dropped_picture_is_searched(page: Page, picture: Path) -> None:
    only(page, "tiny.fp32.onnx on onnxruntime")
    dropped = page.evaluate_handle(
        """bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" })); return data; }""",
        list(picture.read_bytes()),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    page.get_by_text("Done: 1 artifact.").wait_for()
    assert page.locator("#invitation").inner_text() == "dropped.jpg"


def test_hostile_files_are_refused_in_words_and_the_next_picture_works(
    page: Page, picture: Path, tmp_path: Path
) -> None:
    only(page, "tiny.fp32.onnx on onnxruntime")
    large, text = tmp_path / "large.png", tmp_path / "text.png"
    Image.new("L", (10_000, 5_000)).save(large)
    text.write_text("no picture <img src=x onerror=alert(1)>", encoding="utf-8")
    search(page, large)
    page.locator("#status.error", has_text="10000 x 5000 pixels").wait_for()
    search(page, text)
    page.locator("#status.error", has_text="not an image").wait_for()
    assert page.locator(".column .error").count() == 1
    search(page, picture)
    page.get_by_text("Done: 1 artifact.").wait_for()
    assert page.locator(".error").count() == 0


def test_pictures_that_cannot_be_searched_with_get_a_sentence(page: Page, picture: Path, tmp_path: Path) -> None:
    only(page, "tiny.fp32.onnx on onnxruntime")
    heic, gif, large = tmp_path / "IMG_1.HEIC", tmp_path / "cat.gif", tmp_path / "large.jpg"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Image.new("P", (40, 30)).save(gif)
    large.write_bytes(picture.read_bytes() + bytes(25_000_000))
    for file, words in {heic: "HEIC pictures are not read here", gif: "GIF pictures are not read here"}.items():
        search(page, file)
        page.locator("#status.error", has_text=words).wait_for()
    search(page, large)
    page.locator("#status.error", has_text="at most 25.0 MB are taken. Make it smaller.").wait_for()
    assert page.locator(".column").count() == 0


def test_the_files_that_apps_ship_are_ticked(page: Page) -> None:
    ticked = [box.locator("span").text_content() for box in page.locator(".choice:has(input:checked)").all()]
    assert ticked == [
        "tiny.fp32.onnx on onnxruntime",
        "tiny.fp32.tflite on litert",
        "tiny.fp16.mlpackage on coreml_reference",
    ]


def test_the_list_of_artifacts_does_not_push_results_down_on_a_phone(page: Page, picture: Path) -> None:
    """It is closed there, and scrolls where it is open."""
    narrow = page.viewport_size is not None and page.viewport_size["width"] < 700
    assert page.locator("#choose").evaluate("each => each.open") is not narrow
    assert page.locator("#chosen").inner_text().startswith("3 of ")
    search(page, picture)
    page.get_by_text("Done: 3 artifacts.").wait_for()
    tall = "each => { for (let i = 0; i < 60; i++) each.append(each.lastElementChild.cloneNode(true)); }"
    before = page.locator("#results").evaluate("each => each.getBoundingClientRect().top + window.scrollY")
    page.locator("#artifacts").evaluate(tall)
    after = page.locator("#results").evaluate("each => each.getBoundingClientRect().top + window.scrollY")
    assert after < before + 200
    assert after < 1000


def test_several_bundles_answer_side_by_side(
    browser: Browser, finished: Finished, picture: Path, tmp_path: Path
) -> None:
    """Each with one file and its own name, also on a phone; what is beyond a threshold is no match."""
    again = Path(shutil.copytree(finished.folder, tmp_path / "again", ignore=shutil.ignore_patterns(".compress")))
    own = tmp_path / "own.sqlite"
    index(again, [picture.parent], own, artifact="tiny.fp32.onnx", workers=1)
    with start("demo", finished.folder, again, "--port", "0") as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        for width, height in SIZES.values():
            opened = browser.new_page(viewport={"width": width, "height": height})
            opened.goto(address)
            opened.wait_for_selector("#artifacts input", state="attached")
            search(opened, picture)
            opened.get_by_text("Done: 2 artifacts.").wait_for()
            assert opened.locator(".column h2 .system").all_inner_texts() == ["tiny", "tiny (2)"]
            assert opened.evaluate("document.documentElement.scrollWidth") <= width
            opened.fill("#top", "60")
            opened.select_option("#threshold", "1%")
            opened.locator(".column:nth-of-type(2) li.beyond").first.wait_for()
            assert opened.locator(".column li:not(.beyond)").count() >= 2
            opened.close()
        process.terminate()
    with start("demo", again, "--gallery", own, "--port", "0") as process:
        assert process.stdout is not None
        opened = browser.new_page()
        opened.goto(process.stdout.readline().split()[0])
        opened.get_by_text("30 gallery images").first.wait_for()
        only(opened, "tiny.fp32.onnx on onnxruntime")
        search(opened, picture)
        opened.get_by_text("Done: 1 artifact.").wait_for()
        assert opened.locator(".column li").count() == 10
        opened.close()
        process.terminate()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_is_wrong_for_people_who_see_hear_or_move_otherwise(
    browser: Browser,
    address: str,
    picture: Path,
    complaints: Callable[[Page], list[str]],
    scheme: Literal["light", "dark"],
) -> None:
    for width, height in SIZES.values():
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
        opened = context.new_page()
        opened.goto(address)
        opened.wait_for_selector("#artifacts input", state="attached")
        assert complaints(opened) == []
        search(opened, picture)
        opened.locator("#status", has_text="Done").wait_for()
        assert complaints(opened) == []
        context.close()


def test_a_path_outside_the_gallery_is_refused(page: Page) -> None:
    for path in ("/thumbnails/..%2f..%2fbundle.json", "/thumbnails/60", "/bundle.json"):
        status, error = page.evaluate(
            "async path => { const r = await fetch(path); return [r.status, (await r.json()).error]; }", path
        )
        assert status in (404, 422)
        assert error
