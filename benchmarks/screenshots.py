"""Pictures of a report in light, dark and phone width, and the proof that a browser opens it without complaint.

``python -m benchmarks.screenshots runs/quickstart/report.html docs/images`` needs the extra ``e2e`` and a
Chromium in the path. Ends with status 1 if the console says anything, a request leaves the page, or it is wider than
the screen.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

LOOKS = {"light": (1200, "light"), "dark": (1200, "dark"), "phone": (390, "light"), "phone-dark": (390, "dark")}
"""Name -> width in pixels and colour scheme."""
HEIGHT = 844


def main(page: Path, folder: Path) -> list[str]:
    """Write ``report-<look>.png`` of the first screens; what a browser complained about, one line each."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    folder.mkdir(parents=True, exist_ok=True)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (width, scheme) in LOOKS.items():
            context = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
            tab = context.new_page()
            said: list[str] = []
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("pageerror", lambda error, said=said: said.append(str(error)))
            tab.on(
                "request",
                lambda request, said=said: (
                    said.append(request.url[:80]) if not request.url.startswith(("file:", "data:")) else None
                ),
            )
            tab.goto(page.absolute().as_uri())
            wide = tab.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                said.append(f"{wide} pixels wide on a screen of {width}")
            complaints += [f"{name}: {line}" for line in said]
            clip = {"x": 0, "y": 0, "width": width, "height": 3 * HEIGHT}
            tab.screenshot(path=folder / f"report-{name}.png", clip=clip, full_page=True)
            context.close()
        browser.close()
    return complaints


if __name__ == "__main__":
    if found := main(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.exit("\n".join(found))
