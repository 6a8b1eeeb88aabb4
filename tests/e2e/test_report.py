"""A report with failures in headless Chromium (``make e2e``): what matters is on screen, and nobody is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from compress.report.page import write_report
from tests.e2e.conftest import SIZES
from tests.report import _bundle

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, digit_images: np.ndarray) -> Path:
    return write_report(_bundle.write(tmp_path_factory.mktemp("bundle"), digit_images))


@pytest.fixture(
    params=[(name, scheme) for name in SIZES for scheme in ("light", "dark")], ids=lambda each: "-".join(each)
)
def page(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    """The opened report, all its details unfolded. At the end: nothing wider than the window."""
    name, scheme = request.param
    width, height = SIZES[name]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
    opened = context.new_page()
    opened.goto(report.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_nothing_serious_is_wrong_for_people_who_see_hear_or_move_otherwise(
    page: Page, complaints: Callable[[Page], list[str]]
) -> None:
    assert complaints(page) == []


def test_what_is_wrong_is_found(page: Page, complaints: Callable[[Page], list[str]]) -> None:
    page.evaluate("document.querySelector('img').removeAttribute('alt')")
    assert [line.partition(":")[0] for line in complaints(page)] == ["image-alt"]


def test_the_gates_are_on_screen(page: Page) -> None:
    window = page.evaluate("window.innerWidth")
    cells = page.locator(".artifacts tbody tr:not(.source) td", has_text="passed").or_(
        page.locator(".artifacts tbody tr:not(.source) td", has_text="failed")
    )
    boxes = [cell.bounding_box() for cell in cells.all()]
    assert len(boxes) == 5
    assert all(box is not None and box["x"] + box["width"] <= window for box in boxes)


def test_class_names_stay_whole_beside_a_third_column(page: Page) -> None:
    assert page.locator("#retrieval .bars thead th").count() == 3
    names = page.locator("#retrieval .bars tbody th", has_text="digit")
    assert names.count() == 8
    lines = (
        "each => { const range = document.createRange(); range.selectNodeContents(each); "
        "return new Set([...range.getClientRects()].map(box => box.top)).size; }"
    )
    assert [name.evaluate(lines) for name in names.all()] == [1] * 8
