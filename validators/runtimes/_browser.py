"""Execute artifacts in a web page of headless Chromium, with a runtime that npm publishes for web apps.

No server runs and nothing is connected: Playwright answers Chromium's requests through a pipe, with ``_browser.js`` and
the scripts of the npm packages, and refuses all others. Large files go through the page's file input, which is faster.
"""

from __future__ import annotations

import atexit
import base64
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from compress.contracts import Embedder, Processor, Runtime
from compress.system import sandbox
from validators.runtimes._batches import in_batches
from validators.runtimes._installed import missing

FOLDER_VARIABLE = "COMPRESS_WEB"
PACKAGES = ("onnxruntime-web@1.30.0", "@litertjs/core@2.5.3", "@litertjs/wasm-utils@2.5.3")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# No address has this name, so a request that were not answered here would fail; https makes the page a secure one.
_ORIGIN = "https://compress.invalid"
_PAGE = """<!doctype html><meta charset="utf-8"><title>compress</title><body>
<script type="importmap">
{"imports": {"@litertjs/wasm-utils": "/node_modules/@litertjs/wasm-utils/dist/index.js"}}
</script>
<script type="module" src="/browser.js"></script><input type="file" multiple>"""
_SCRIPT = Path(__file__).with_suffix(".js")
_ISOLATED = {
    # With these two the page's clock has steps of 5 us, not 100 us, and WebAssembly may use threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
_ARGUMENTS = [
    "--disable-background-networking",
    "--disable-dev-shm-usage",  # the confined child may not write in /dev/shm
    "--disable-gpu",
]
_TIMEOUT_MS = 120_000


@dataclass(frozen=True, kw_only=True)
class BrowserRuntime(Runtime):
    """A runtime that executes as WebAssembly in a web page.

    Class attributes:
        format: as ``openers`` of ``_browser.js`` calls it.
        wasm, threaded_wasm: the runtime's files for one thread and for several, in the folder of npm packages.
    """

    own_sockets: ClassVar[bool] = True
    format: ClassVar[Literal["onnx", "tflite"]]
    wasm: ClassVar[str]
    threaded_wasm: ClassVar[str]

    def processor(self) -> Processor:
        return "browser"

    def unavailable(self) -> str | None:
        if (reason := missing("playwright", "compress-retrieval[web]")) is not None:
            return reason
        if _browser() is None:
            return f"no browser ({', '.join(BROWSERS)}) is on PATH; apt-get install chromium"
        folder = os.environ.get(FOLDER_VARIABLE)
        install = f"npm install --ignore-scripts --prefix FOLDER {' '.join(PACKAGES)}"
        if not folder:
            return f"{FOLDER_VARIABLE} is not set to a folder of npm packages; make one with: {install}"
        if _package_version(self.package) is None:
            return f"{FOLDER_VARIABLE}={folder} has no {self.package} in node_modules; {install}"
        return None

    def version(self) -> str:
        return f"{self.package} {_package_version(self.package)} in {_browser_version()}"

    def open(self, path: Path, threads: int) -> Embedder:
        return Page(path, self.wasm if threads == 1 else self.threaded_wasm, self.format, threads)

    def timed_embedding(self, embed: Embedder, image: np.ndarray) -> tuple[np.ndarray, float]:
        assert isinstance(embed, Page)
        found = embed(image)
        return found, embed.embed_ms

    def milliseconds(self, embed: Embedder, images: Sequence[np.ndarray], warmup: int, repeats: int) -> list[float]:
        assert isinstance(embed, Page)
        return embed.milliseconds(images, warmup, repeats)

    def process(self, embed: Embedder) -> int:
        assert isinstance(embed, Page)
        return embed.process()

    def notes(self, embed: Embedder) -> tuple[str, ...]:
        assert isinstance(embed, Page)
        return (f"loaded in the page in {embed.load_ms:.0f} ms: WebAssembly, then the file; downloads not included",)


class Page:
    """An artifact that is open in a page.

    Attributes:
        load_ms: milliseconds in the page to compile the WebAssembly and to load the artifact, both in memory.
        embed_ms: milliseconds in the page that the last batch took.
    """

    def __init__(self, artifact: Path, wasm: str, format: str, threads: int) -> None:
        self._page = _opened_page()
        self._give(_packages_folder() / wasm, artifact)
        self.load_ms: float = self._call("open", format, threads)
        self.embed_ms = 0.0
        self._embed = in_batches(self._embed_batch)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._embed(images)

    def milliseconds(self, images: Sequence[np.ndarray], warmup: int, repeats: int) -> list[float]:
        """Time single images uint8 [1, H, W, 3] in turn, inside the page: milliseconds of each measured run."""
        found: list[float] = self._call_on(np.concatenate(images), "time", warmup, repeats)
        return found

    def process(self) -> int:
        """The number of the browser's process that executes the page: of those of pages, the one that worked most."""
        session = self._page.context.browser.new_browser_cdp_session()
        found = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return int(max((each for each in found if each["type"] == "renderer"), key=lambda each: each["cpuTime"])["id"])

    def _embed_batch(self, images: np.ndarray) -> np.ndarray:
        found = self._call_on(images, "embed")
        self.embed_ms = found["milliseconds"]
        values = np.frombuffer(base64.b64decode(found["values"]), "<f4").astype(np.float32)
        return values.reshape(len(images), -1)

    def _call_on(self, images: np.ndarray, name: str, *values: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images"
            file.write_bytes(images.tobytes())
            self._give(file)
            return self._call(name, list(images.shape), *values)

    def _give(self, *files: Path) -> None:
        """Put files into the page's input: it gets their paths through the pipe, and reads them itself."""
        self._page.set_input_files("input", files)

    def _call(self, name: str, *values: Any) -> Any:
        from playwright.sync_api import Error

        try:
            return self._page.evaluate(f"values => window.compress.{name}(...values)", list(values))
        except Error as error:
            # The message's first line is the page's; a stack of minified code follows.
            line = next(iter(error.message.splitlines()), "")
            raise RuntimeError(line.removeprefix("Page.evaluate: ")) from None


def _opened_page() -> Any:
    """Open the page in a browser that ends with this process."""
    from playwright.sync_api import Route

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(_ORIGIN)
        if path == "/":
            route.fulfill(body=_PAGE, content_type="text/html", headers=_ISOLATED)
        elif path == "/browser.js":
            route.fulfill(body=_SCRIPT.read_bytes(), content_type="text/javascript", headers=_ISOLATED)
        elif path.startswith("/node_modules/") and path.endswith(("js", "mjs")):
            file = _packages_folder() / path.removeprefix("/node_modules/")
            route.fulfill(body=file.read_bytes(), content_type="text/javascript", headers=_ISOLATED)
        else:
            route.abort()

    page = _started_browser().new_page()
    page.set_default_timeout(_TIMEOUT_MS)
    page.route("**/*", answer)
    page.goto(f"{_ORIGIN}/")
    return page


@functools.cache
def _started_browser() -> Any:
    """A browser, which ends with this process."""
    from playwright.sync_api import sync_playwright

    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    # Inside the child's confinement Chromium cannot set up its own, nor can it as root.
    free = not sandbox.held() and os.geteuid() != 0
    browser = playwright.chromium.launch(executable_path=_browser(), args=_ARGUMENTS, chromium_sandbox=free)
    atexit.register(browser.close)  # the last that is registered is called first
    return browser


def _packages_folder() -> Path:
    return Path(os.environ[FOLDER_VARIABLE]).absolute() / "node_modules"


def _package_version(package: str) -> str | None:
    """The version of an npm package in the folder; None if it is not there."""
    try:
        described = json.loads((_packages_folder() / package / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    version = described.get("version") if isinstance(described, dict) else None
    return version if isinstance(version, str) else None


def _browser() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name)) is not None), None)


@functools.cache
def _browser_version() -> str:
    """Name and main version, e.g. ``Chromium 142``."""
    executable = _browser()
    assert executable is not None
    done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"(\S+) (\d+)\.\d+\.\d+", done.stdout)
    return f"{found[1]} {found[2]}" if found else "a browser of unknown version"
