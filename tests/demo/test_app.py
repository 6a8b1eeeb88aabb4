"""The search page's API: the same answers as 'compress search', and hostile uploads, hosts and addresses refused."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from compress.commands.search import query
from compress.demo import app as demo
from compress.demo.guard import is_own_host
from compress.demo.uploads import MAX_BYTES
from tests.conftest import Finished

ONNX = {"artifact": "tiny.fp32.onnx"}
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def client(finished: Finished) -> Iterator[TestClient]:
    with TestClient(demo.create_app([finished.folder]), base_url="http://127.0.0.1:8000") as running:
        yield running


@pytest.fixture(scope="module")
def photo_path(finished: Finished) -> Path:
    return finished.recipe.parent / "photos/digit 3/000004.jpg"


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def small() -> bytes:
    return png(Image.new("RGB", (40, 30), "red"))


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large and has but a few bytes of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------------ answers


def test_every_artifact_and_runtime_is_listed(client: TestClient) -> None:
    info = client.get("/artifacts").json()
    assert (info["bundle"], info["gallery"], info["distance"]) == ("tiny", 60, "l2")
    rows = {(row["artifact"], row["runtime"]): row for row in info["artifacts"]}
    assert rows["tiny.fp32.onnx", "onnxruntime"]["unavailable"] is None
    assert rows["tiny.fp32.tflite", "litert"]["evidence"] == "native"
    assert {row["format"] for row in info["artifacts"]} == {
        "torchscript",
        "torchscript-lite",
        "onnx",
        "tflite",
        "coreml",
    }


@pytest.mark.parametrize("artifact", ["tiny.fp32.onnx", "tiny.fp32.tflite"])
def test_the_page_finds_what_the_command_line_finds(
    client: TestClient, finished: Finished, photo_path: Path, artifact: str
) -> None:
    expected = query(finished.folder, photo_path, top=7, artifact=artifact)
    answer = client.post(
        "/search",
        params={"artifact": artifact, "top": 7},
        content=photo_path.read_bytes(),
        headers={"Content-Type": "image/jpeg"},
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["runtime"], found["evidence"]) == (expected.runtime, "native")
    assert [(m["name"], m["label"]) for m in found["matches"]] == [(m.name, m.label) for m in expected.matches]
    assert [m["distance"] for m in found["matches"]] == pytest.approx([m.distance for m in expected.matches], rel=1e-6)
    assert [m["rank"] for m in found["matches"]] == list(range(1, 8))
    assert all(value > 0 for value in found["milliseconds"].values())


def test_a_threshold_marks_what_is_no_match(client: TestClient, photo_path: Path) -> None:
    listed = {row["artifact"]: row["thresholds"] for row in client.get("/artifacts").json()["artifacts"]}
    (limit,) = [each["distance"] for each in listed[ONNX["artifact"]] if each["rate"] == "1%"]

    def ask(threshold: str) -> tuple[int, dict]:
        asked = {**ONNX, "top": 60, "threshold": threshold}
        jpeg = {"Content-Type": "image/jpeg"}
        answer = client.post("/search", params=asked, content=photo_path.read_bytes(), headers=jpeg)
        return answer.status_code, answer.json()

    status, found = ask("1%")
    assert (status, found["threshold"]) == (200, limit)
    assert [match["match"] for match in found["matches"]] == [m["distance"] <= limit for m in found["matches"]]
    assert {match["match"] for match in found["matches"]} == {True, False}
    assert not any(match["match"] for match in ask("1e-9")[1]["matches"][1:])
    for wrong in ("2%", "0.01%", "near"):
        status, found = ask(wrong)
        assert (status, found["error"].startswith(f"threshold {wrong}: ")) == (422, True)


def test_thumbnails_are_the_gallerys(client: TestClient, small: bytes) -> None:
    match = client.post("/search", params=ONNX, content=small, headers=PNG).json()["matches"][0]
    answer = client.get(match["thumbnail"])
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (32, 32)


def test_a_reference_executor_reports_no_time(client: TestClient, small: bytes) -> None:
    asked = {"artifact": "tiny.fp16.mlpackage", "runtime": "coreml_reference"}
    found = client.post("/search", params=asked, content=small, headers=PNG).json()
    assert found["evidence"] == "reference"
    assert found["milliseconds"]["embed"] is None


def test_the_openapi_description_has_the_three_endpoints(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert paths.keys() == {"/search", "/artifacts", "/thumbnails/{number}"}
    post = paths["/search"]["post"]
    assert {"image/jpeg", "image/png", "image/webp"} == post["requestBody"]["content"].keys()
    assert {"404", "413", "415", "503"} <= post["responses"].keys()


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    for path in demo.PAGE:
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_the_files_that_apps_ship_are_marked(client: TestClient) -> None:
    shipped = {row["format"]: row["shipped"] for row in client.get("/artifacts").json()["artifacts"]}
    assert shipped == {"torchscript": False, "torchscript-lite": False, "onnx": True, "tflite": True, "coreml": True}


# ----------------------------------------------------------------------------------------------------- hostility


def refusal(answer: object) -> str:
    """The one line of a refusal."""
    content = json.loads(answer.content)  # type: ignore[attr-defined]
    assert content.keys() == {"error"}
    assert "\n" not in content["error"] and "Traceback" not in content["error"]
    return str(content["error"])


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"just text, and called .png", 415, "not an image"),
        (b"", 415, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "not an image"),
        (png(Image.new("RGB", (40, 30), "red"))[:-30], 415, "truncated"),
        (png_of(10_000, 5_000), 413, "10000 x 5000 pixels"),
        (png_of(1, 40_000_000), 413, "1 x 40000000 pixels"),
        (png_of(60_000, 60_000), 415, "bomb"),
        (bytes(MAX_BYTES + 1), 413, "25,000,000 bytes"),
    ],
    ids=["text", "empty", "postscript", "truncated", "50 megapixels", "a line", "bomb", "too many bytes"],
)
def test_an_upload_that_is_no_reasonable_picture(client: TestClient, content: bytes, status: int, words: str) -> None:
    answer = client.post("/search", params=ONNX, content=content, headers=PNG)
    assert answer.status_code == status
    assert words in refusal(answer)


def test_a_picture_of_50_megapixels_that_is_whole_and_its_control(client: TestClient) -> None:
    large = png(Image.new("L", (10_000, 5_000)))
    assert len(large) < MAX_BYTES
    assert client.post("/search", params=ONNX, content=large, headers=PNG).status_code == 413
    fits = png(Image.new("L", (8_000, 5_000)))
    assert client.post("/search", params=ONNX, content=fits, headers=PNG).status_code == 200


def gif(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "GIF")
    return file.getvalue()


@pytest.mark.parametrize("claimed", [True, False], ids=["by its type", "called a PNG"])
@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic", "HEIC pictures are not read here: save it as JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image/heif", "HEIC pictures are not read here: save it as JPEG"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", "image/avif", "AVIF pictures are not read here: save it as JPEG"),
        (gif(Image.new("P", (40, 30))), "image/gif", "GIF pictures are not read here: save it as JPEG"),
    ],
    ids=["heic", "heif", "avif", "gif"],
)
def test_what_phones_and_the_web_have_gets_a_sentence(
    client: TestClient, content: bytes, kind: str, words: str, claimed: bool
) -> None:
    answer = client.post(
        "/search", params=ONNX, content=content, headers={"Content-Type": kind if claimed else "image/png"}
    )
    assert answer.status_code == 415
    assert words in refusal(answer)


def test_a_stream_without_a_length_is_cut_off(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1_000_000
            yield bytes(1_000_000)

    answer = client.post("/search", params=ONNX, content=endless(), headers=PNG)
    assert answer.status_code == 413
    assert "bytes" in refusal(answer)


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"artifact": "../../../etc/passwd"}, 404, "tiny.fp32.onnx"),
        ({"artifact": "artifacts/tiny.fp32.onnx"}, 404, "tiny.fp32.onnx"),
        ({**ONNX, "runtime": "litert"}, 404, "onnxruntime"),
        ({**ONNX, "runtime": "os"}, 404, "onnxruntime"),
        ({}, 422, "artifact"),
        ({**ONNX, "top": 0}, 422, "top"),
        ({**ONNX, "top": 101}, 422, "top"),
        ({**ONNX, "top": "many"}, 422, "top"),
    ],
)
def test_what_cannot_be_asked(
    client: TestClient, small: bytes, params: dict[str, str], status: int, words: str
) -> None:
    answer = client.post("/search", params=params, content=small, headers=PNG)
    assert answer.status_code == status
    assert words in refusal(answer)


def test_a_runtime_that_is_not_here_says_why(client: TestClient, small: bytes) -> None:
    rows = client.get("/artifacts").json()["artifacts"]
    absent = next(row for row in rows if row["unavailable"])
    asked = {"artifact": absent["artifact"], "runtime": absent["runtime"]}
    answer = client.post("/search", params=asked, content=small, headers=PNG)
    assert answer.status_code == 503
    assert absent["unavailable"] in refusal(answer)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "image/svg+xml", ""])
def test_other_types_are_refused_so_that_no_foreign_form_can_send_them(
    client: TestClient, small: bytes, kind: str
) -> None:
    answer = client.post("/search", params=ONNX, content=small, headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "image/png" in refusal(answer)
    foreign = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    asked = client.options("/search", headers={**foreign, "Access-Control-Request-Headers": "content-type"})
    assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize(
    "path",
    [
        "/thumbnails/60",
        "/thumbnails/-1",
        "/thumbnails/99999999999999999999",
        "/thumbnails/..%2f..%2fbundle.json",
        "/thumbnails/../../../../etc/passwd",
        "/bundle.json",
        "/gallery/gallery.sqlite",
        "/..%2f..%2fetc%2fpasswd",
    ],
)
def test_nothing_outside_the_gallery_is_given(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert refusal(answer)
    assert client.get("/thumbnails/59").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert not is_own_host(host)
    answer = client.get("/artifacts", headers={"Host": host})
    assert answer.status_code == 421
    assert "IP address" in refusal(answer)


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.20:80"])
def test_this_machines_names_are_served(client: TestClient, host: str) -> None:
    assert client.get("/artifacts", headers={"Host": host}).status_code == 200
