from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compress.contracts import Preprocess, PublishedImage
from compress.data.images import (
    MAX_SIDE,
    TooManyPixelsError,
    UndecodableImageError,
    preprocess_image,
    read_image,
    read_published,
)


def same_size(image: Image.Image) -> Preprocess:
    return Preprocess(size=(image.height, image.width))


def slow_resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with antialias along axis 0, in plain loops: a triangle as wide as the scale."""
    scale = len(pixels) / size
    radius = max(scale, 1.0)
    out = []
    for i in range(size):
        centre = (i + 0.5) * scale
        weights = np.zeros(len(pixels))
        for j in range(max(0, floor(centre - radius)), min(len(pixels), ceil(centre + radius))):
            weights[j] = max(0.0, 1 - abs((j + 0.5 - centre) / radius))
        out.append((weights / weights.sum()) @ pixels)
    return np.array(out)


@pytest.mark.parametrize("size", [(12, 20), (48, 64), (31, 100)])
def test_resize_agrees_with_a_loop(photo: Callable[..., Image.Image], size: tuple[int, int]) -> None:
    image = photo(3, 0)
    got = preprocess_image(image, Preprocess(size=size)).astype(float)
    pixels = np.asarray(image, dtype=float)
    H, W = size
    for channel in range(3):
        expected = slow_resize(slow_resize(pixels[..., channel].T, W).T, H)
        assert np.abs(got[..., channel] - expected).max() <= 1
    # The comparison tells filters apart: without antialias a reduction differs.
    if image.height > H:
        without = np.asarray(image.resize((W, H), Image.Resampling.NEAREST), dtype=float)
        assert np.abs(without - got).max() > 20


@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 40), st.integers(8, 40))
def test_center_is_resize_of_the_shorter_side_then_cut(w: int, h: int, W: int, H: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    got = preprocess_image(image, Preprocess(size=(H, W), crop="center"))
    scale = max(W / w, H / h)
    whole = (max(W, round(w * scale)), max(H, round(h * scale)))
    left, top = (whole[0] - W) // 2, (whole[1] - H) // 2
    expected = image.resize(whole, Image.Resampling.BILINEAR).crop((left, top, left + W, top + H))
    assert np.abs(got.astype(int) - np.asarray(expected, dtype=int)).max() <= 1


def test_center_of_a_long_and_thin_image_makes_no_huge_one() -> None:
    got = preprocess_image(Image.new("RGB", (100_000, 1), (9, 8, 7)), Preprocess(size=(128, 128), crop="center"))
    assert (got == (9, 8, 7)).all()


def test_a_side_longer_than_any_jpeg_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (MAX_SIDE + 1, 1)).save(tmp_path / "line.png")
    Image.new("1", (MAX_SIDE, 1)).save(tmp_path / "shorter.png")
    with pytest.raises(TooManyPixelsError, match="65536 x 1 pixels; at most 65,535 a side"):
        read_image(tmp_path / "line.png", Preprocess(size=(8, 8)))
    assert read_image(tmp_path / "shorter.png", Preprocess(size=(8, 8))).shape == (8, 8, 3)


@pytest.mark.every_change("LA")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_a_large_image_is_converted_like_a_small_one_in_little_memory(tmp_path: Path, mode: str) -> None:
    """The steps between took 640 to 830 MB for 40 megapixels, of which RGB takes 160."""
    H, W = 5000, 8000
    grey = np.arange(H, dtype=np.uint16)[:, None] * np.ones(W, np.uint16)
    image = Image.fromarray(grey * 13) if mode == "I;16" else Image.fromarray((grey % 256).astype(np.uint8))
    if mode != "I;16":
        image.putalpha(Image.fromarray((grey // 20).astype(np.uint8)))
        image = image.convert(mode)
    image.save(tmp_path / "large.png", compress_level=1)
    image.crop((0, 2400, 8, 2600)).save(tmp_path / "part.png")
    code = (
        "import sys; from pathlib import Path; import numpy as np; from validators.child import peak_bytes\n"
        "from compress.contracts import Preprocess; from compress.data.images import read_image\n"
        "found = read_image(Path(sys.argv[1]), Preprocess(size=(5000, 8)))\n"
        "np.save(sys.argv[2], found); print(peak_bytes())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "large.png"), str(tmp_path / "found.npy")]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak < 450_000_000
    part = read_image(tmp_path / "part.png", Preprocess(size=(200, 8)))
    assert np.array_equal(np.load(tmp_path / "found.npy")[2400:2600], part)


def test_grey_is_repeated() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    got = preprocess_image(Image.fromarray(grey), Preprocess(size=(8, 8)))
    assert got.dtype == np.uint8
    assert got.shape == (8, 8, 3)
    assert all((got[..., channel] == grey).all() for channel in range(3))


def test_transparency_is_flattened_on_white() -> None:
    half = Image.new("RGBA", (8, 8), (200, 0, 100, 128))
    # 200 * 128/255 + 255 * 127/255 = 227.4; 0 -> 127; 100 -> 177.2
    assert np.abs(preprocess_image(half, same_size(half))[0, 0].astype(int) - (227, 127, 177)).max() <= 1
    grey = Image.new("LA", (8, 8), (0, 0))
    assert (preprocess_image(grey, same_size(grey)) == 255).all()


def test_palettes_with_and_without_transparency(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    palette = photo(0, 0).quantize(8)
    assert (preprocess_image(palette, same_size(palette)) == np.asarray(palette.convert("RGB"))).all()
    clear = Image.new("P", (8, 8), 0)
    clear.putpalette([10, 20, 30])
    clear.save(tmp_path / "clear.gif", transparency=0)
    assert (read_image(tmp_path / "clear.gif", Preprocess(size=(8, 8))) == 255).all()


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path: Path) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 257 * 4).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    got = read_image(tmp_path / "deep.png", Preprocess(size=(8, 8)))
    assert (got[..., 0] == np.arange(64).reshape(8, 8) * 4).all()


def test_cmyk_jpeg(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    image = photo(0, 0)
    image.convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    got = read_image(tmp_path / "print.jpg", same_size(image)).astype(int)
    assert np.abs(got - np.asarray(image, dtype=int)).mean() < 4
    assert np.abs(got - (255 - np.asarray(image, dtype=int))).mean() > 100  # inverted ink would be this near


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, photo: Callable[..., Image.Image], orientation: int) -> None:
    image = photo(1, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    expected = TURNS[orientation](np.asarray(image))
    got = read_image(tmp_path / "turned.png", Preprocess(size=expected.shape[:2]))
    assert (got == expected).all()


def reason(path: Path) -> str:
    with pytest.raises(UndecodableImageError) as caught:
        read_image(path, Preprocess(size=(8, 8)))
    assert str(path) not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_cannot_be_decoded_say_why(
    tmp_path: Path, photo: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.jpg"
    photo(0, 0).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:-200])
    assert "truncated" in reason(cut)

    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    assert reason(text) == "not an image"
    (tmp_path / "empty.png").touch()
    assert reason(tmp_path / "empty.png") == "not an image"
    assert reason(tmp_path / "absent.png") == "No such file or directory"

    Image.new("F", (8, 8)).save(tmp_path / "float.tif")
    assert "float" in reason(tmp_path / "float.tif")

    assert read_image(whole, Preprocess(size=(8, 8))).shape == (8, 8, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "decompression bomb" in reason(whole)


def test_a_published_box_counts_pixels_of_the_file(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    """Edges are rounded, and EXIF does not turn the part."""
    whole, exif = photo(1, 4), Image.Exif()
    exif[0x0112] = 6
    whole.save(tmp_path / "turned.png", exif=exif)
    source = PublishedImage(tmp_path / "turned.png", (9.6, 4.4, 40.0, 24.0))
    found = read_published(source, Preprocess(size=(20, 30)))
    assert (found == np.asarray(whole.crop((10, 4, 40, 24)))).all()
    for box in ((-1.0, 0.0, 10.0, 10.0), (0.0, 0.0, 65.0, 10.0), (10.0, 10.0, 10.0, 20.0), (20.0, 0.0, 10.0, 10.0)):
        with pytest.raises(UndecodableImageError, match=r"its box .* lies outside its 64 x 48 pixels"):
            read_published(PublishedImage(tmp_path / "turned.png", box), Preprocess(size=(30, 20)))


@pytest.mark.parametrize(("width", "height"), [(90, 30), (31, 97), (40, 40), (5000, 2)])
def test_pad_keeps_the_whole_image_and_its_shape_on_the_mean_colour(width: int, height: int) -> None:
    random = np.random.default_rng(width)
    image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    mean = (0.485, 0.456, 0.406)
    got = preprocess_image(image, Preprocess(size=(48, 64), crop="pad", mean=mean))
    scale = min(64 / width, 48 / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    assert w == 64 or h == 48
    left, top = (64 - w) // 2, (48 - h) // 2
    inside = np.zeros((48, 64), bool)
    inside[top : top + h, left : left + w] = True
    whole = np.asarray(image.resize((w, h), Image.Resampling.BILINEAR))
    assert (got[inside] == whole.reshape(-1, 3)).all()
    assert (got[~inside] == np.array([124, 116, 104])).all()
    assert np.abs(got[~inside] / 255 - mean).max(initial=0) < 0.002  # 0 once normalised
    if width != height:
        assert (got != preprocess_image(image, Preprocess(size=(48, 64)))).any()
