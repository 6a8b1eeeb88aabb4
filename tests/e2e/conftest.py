"""A headless Chromium, and axe-core, which 'make e2e' puts beside the environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WEB = Path(os.environ["COMPRESS_WEB"]).absolute()
AXE = Path(sys.prefix) / "axe-core/package/axe.min.js"
SIZES = {"desktop": (1200, 900), "phone": (390, 844)}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "no browser: apt-get install chromium"
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root, as CI often is; the page is ours.
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def complaints() -> Callable[[Page], list[str]]:
    """What axe-core finds wrong in an opened page, a line for each rule, with the first element that breaks it.

    Only what it calls serious or critical. The page's context must bypass its content security policy.
    """
    assert AXE.exists(), f"no axe-core in {AXE}: 'make e2e' fetches it"
    script = AXE.read_text(encoding="utf-8")

    def find(page: Page) -> list[str]:
        page.evaluate(script)
        result = page.evaluate("axe.run()")
        assert len(result["passes"]) > 10
        return [
            f"{each['id']}: {each['help']}: {each['nodes'][0]['html']}"
            for each in result["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    return find
