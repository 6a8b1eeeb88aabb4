"""'compress demo' as a user starts and ends it."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path

from tests._command import compress, compress_here, start
from tests.conftest import Finished


def test_it_prints_its_address_serves_and_ends_quietly_with_its_children(finished: Finished) -> None:
    with start("demo", finished.folder, "--port", "0") as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/artifacts") as answer:
            assert json.load(answer)["bundle"] == "tiny"
        photo = next((finished.recipe.parent / "photos").rglob("*.jpg")).read_bytes()
        asked = f"{address}/search?artifact=tiny.fp32.onnx"
        request = urllib.request.Request(asked, photo, {"Content-Type": "image/jpeg"})
        with urllib.request.urlopen(request) as answer:
            assert len(json.load(answer)["matches"]) == 10
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (0, "", "")


def test_a_port_that_is_taken_and_a_folder_that_is_no_bundle(finished: Finished, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = compress_here("demo", finished.folder, "--port", port)
    assert (ended.code, f"--port {port}" in ended.complaint) == (2, True)
    ended = compress_here("demo", tmp_path)
    assert (ended.code, str(tmp_path) in ended.complaint) == (2, True)


def test_without_its_extra_it_says_how_to_install_it(finished: Finished) -> None:
    ended = compress("demo", finished.folder, without=("uvicorn",))
    assert ended.code == 3
    assert "compress-retrieval[demo]" in ended.complaint
