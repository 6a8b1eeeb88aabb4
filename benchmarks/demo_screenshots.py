"""Pictures of the search page for the documentation.

``python -m benchmarks.demo_screenshots BUNDLE PICTURE FOLDER`` searches BUNDLE with PICTURE.
Needs the extra ``e2e`` and Chromium. FOLDER, say docs/images, receives demo-<look>.png.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

LOOKS = {
    "demo-light": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"},
    "demo-dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "demo-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
}


def main(bundle: str, picture: str, folder: str) -> None:
    """Serve the bundle, search once per look, and save what the window shows."""
    command = [sys.executable, "-m", "compress", "demo", bundle, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, look in LOOKS.items():
            page = browser.new_page(**look)  # type: ignore[arg-type]
            page.goto(address)
            page.wait_for_selector("#artifacts input")
            for box in page.locator(".choice:has(input:enabled)").all():
                words = box.locator("span").inner_text()
                box.locator("input").set_checked(words.endswith(("on onnxruntime", "on litert")) and "fp32" in words)
            page.fill("#top", "5")
            page.set_input_files("#file", picture)
            page.locator("#status", has_text="Done").wait_for()
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=name == "demo-phone")
        server.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
