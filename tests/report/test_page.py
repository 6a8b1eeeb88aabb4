"""The page: what it says, that names stay names, that it loads nothing, and that it can be read without eyes."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.contracts import BadInput
from compress.report import REPORT, write_report
from compress.report.problems import Problem, problems
from tests.conftest import Finished
from tests.report import _bundle
from tests.report._page import Page


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, digit_images: np.ndarray) -> Path:
    return _bundle.write(tmp_path_factory.mktemp("bundle"), digit_images)


@pytest.fixture(scope="module")
def page(bundle: Path) -> Page:
    return Page(write_report(bundle).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------ what it says


def test_the_table_has_a_row_for_every_artifact_and_runtime(page: Page) -> None:
    (table,) = page.all("table", class_="artifacts")
    text = " ".join(table.text.split())
    for name in ("PyTorch", ".tflite fp32litert 1.0", ".tflite fp32 · tflite_runtime", ".tflite fp16", ".onnx fp32"):
        assert name in text
    assert "0.910000" in text  # the cosine
    assert "-0.1000" in text  # mAP against PyTorch
    assert "✗ 1 failed" in text


def test_what_was_not_run_says_so_and_why(page: Page) -> None:
    assert "not run" in page.text
    assert ".mlpackage fp32 Not run: needs macOS & patience" in page.text
    (table,) = page.all("table", class_="artifacts")
    cells = table.text[table.text.index(".mlpackage fp32") : table.text.index(".onnx")]
    assert cells.count("-") >= 6  # and no number was invented
    assert not re.search(r"\d\.\d{4}", cells)


def test_the_matrix_says_what_came_of_each_file_on_each_processor(page: Page) -> None:
    (table,) = page.all("table", class_="matrix")
    text = " ".join(table.text.split())
    assert "artifactCPUolder<b>Pixel</b> 8 GPU" in text
    assert ".tflite fp32✓ passed✓ passed✓ passed .tflite fp16✗ failed-- .mlpackage fp32not run--" in text


def test_what_a_phone_measured_has_its_own_table(page: Page) -> None:
    (table,) = page.all("table", class_="devices")
    text = " ".join(table.text.split())
    for words in ("Android 16", "litert 2.1.0", "9.25 ms", "12.00 ms", "31.50 ms", "90.00 MB", "2026-11-27, app team"):
        assert words in text
    assert "fastest" in page.text and "Pixel" not in page.text[: page.text.index("Artifacts")]


def test_other_ways_from_a_photograph_have_a_table_that_marks_the_worst(page: Page) -> None:
    (table,) = page.all("table", class_="photographs")
    text = " ".join(table.text.split())
    assert "as preprocess says0%0.000.6000" in text
    assert "resize nearest88%6.25▾ +0.1000" in text
    assert "JPEG 3090%2.000.0000" in text and "20 held-out photographs" in page.text


def test_old_galleries_have_a_table_of_how_much_is_embedded_again(page: Page) -> None:
    (table,) = page.all("table", class_="upgrade")
    text = " ".join(table.text.split())
    assert "0%0.500071,234 50%0.550071,234 100%0.600071,234" in text
    (section,) = page.all("section", id="old-galleries")
    assert "have mAP 0.4321 there. ✓ No file finds less: the lowest change is +0.0679 " in section.text
    assert "(95 % interval +0.0421 to +0.0934), of PyTorch." in section.text


def test_codes_have_a_column_for_their_bits(bundle: Path, page: Page, tmp_path: Path) -> None:
    assert "bits flipped" not in page.text
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((copy / "bundle.json").read_text(encoding="utf-8"))
    manifest["embedding"] |= {"kind": "binary", "distance": "hamming"}
    manifest["artifacts"][0]["parity"]["bit_flip_rate"] = 0.0125
    (copy / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    codes = Page(write_report(copy).read_text(encoding="utf-8"))
    (table,) = codes.all("table", class_="artifacts")
    assert "bits flipped" in table.text
    assert "1.250%" in table.text
    rows = [e.text for e in codes.all("tr") if "table" in e.parents and "1.250%" in e.text]
    assert len(rows) == 1
    accessible(codes)


def test_failures_come_first(page: Page) -> None:
    (verdict,) = page.all("div", class_="verdict")
    assert "failed" in verdict.attributes["class"]
    assert "3 checks failed" in verdict.text
    assert "artifacts/pooled.fp16.tflite on litert: min_cosine 0.91, limit 0.998" in verdict.text
    assert "control other_weights" in verdict.text
    assert "passed unnoticed" in page.text


def test_like_failures_are_one_line_with_a_count(page: Page) -> None:
    (verdict,) = page.all("div", class_="verdict")
    assert "min_cosine failed 2 times" in verdict.text
    lines = [f"{letter} on litert: min_cosine 0.{number}, limit 1" for number, letter in enumerate("abcdefghijk")]
    others = ["gallery/gallery.faiss: index_recall 0.1, limit 0.9", "control noise: passed", "control swap: passed"]
    assert problems([*lines, *others]) == [
        Problem("min_cosine failed 11 times", tuple(lines)),
        Problem(others[0]),
        Problem("2 controls passed unnoticed", tuple(others[1:])),
    ]


def test_what_cannot_be_ranked_is_named_and_drawn_nowhere(page: Page) -> None:
    assert "artifacts/pooled.fp32.onnx on onnxruntime cannot be ranked" in page.text
    (legend,) = [e for e in page.all("ul", class_="legend") if "PyTorch" in e.text]
    assert ".onnx" not in legend.text


def test_the_curves_say_who_agrees_with_pytorch(page: Page) -> None:
    (legend,) = [e for e in page.all("ul", class_="legend") if "PyTorch" in e.text]
    assert "PyTorch and 2 within 0.001: .tflite fp32, .tflite fp32 · tflite_runtime" in legend.text
    assert ".tflite fp16" in legend.text


def test_query_rows_mark_right_and_wrong_by_shape_and_words(page: Page) -> None:
    right, wrong = page.all("li", class_="right"), page.all("li", class_="wrong")
    assert len(right) > 20
    assert len(wrong) > 20
    assert {e.text.strip() for e in right} == {"✓"}
    assert {e.text.strip() for e in wrong} == {"✗"}
    alts = [e.attributes["alt"] for e in page.all("img") if e.parents[-1] == "li" and e.parents[-2] == "ol"]
    assert {alt.rpartition(", ")[2] for alt in alts} == {"right", "wrong"}
    assert "dashed: not" in page.text


def test_artifacts_that_differ_stand_next_to_pytorch(page: Page) -> None:
    who = [e.text for e in page.all("p", class_="who")]
    assert who == ["PyTorch", ".tflite fp16"] * 2
    assert "in the same order for all 60 queries: .tflite fp32, .tflite fp32 · tflite_runtime." in page.text


def test_training_and_pruning_stand_there_stage_by_stage(page: Page) -> None:
    titles = {e.text for e in page.all("title") if "svg" in e.parents}
    assert {"Loss", "Validation accuracy", "mAP and size", "mAP and latency", "Precision over recall"} <= titles
    assert "100 → 60 (-40%)" in page.text
    assert "24 of 32" in page.text
    assert [e.text for e in page.all("li", class_="look1") if "prune" in e.text] == ["prune 1"] * 2


def test_the_matrix_shades_by_value(page: Page) -> None:
    (heat,) = page.all("table", class_="heat")
    assert "0.5300" in heat.text
    shades = [float(e.attributes["style"].removeprefix("--shade:")) for e in page.all("td") if "style" in e.attributes]
    assert shades == [1.0, 0.5, 0.3, 0.0]


# ---------------------------------------------------------------------------------------------- names stay names


def test_no_name_from_the_data_becomes_an_element(page: Page) -> None:
    assert not page.all("script")
    assert not [e for e in page.elements if any(name.startswith("on") for name in e.attributes)]
    assert not page.all("b")
    assert not page.all("u")
    assert not page.all("i")
    for name in ("<b>pooled</b>", "<script>alert(1)</script>", "<u>0</u>", "<i>.jpg: truncated", "<script>alert(3)"):
        assert name in page.text
    alts = {e.attributes.get("alt") for e in page.all("img")}
    assert 'query: "><img src=x onerror=alert(2)>' in alts


def test_the_page_loads_nothing(page: Page) -> None:
    for element in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            value = element.attributes.get(name, "data:")
            assert value.startswith("data:") or (name == "href" and value.startswith("#")), element
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")


def test_a_manifest_cannot_show_files_from_elsewhere(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copy(bundle / _bundle.WORST, tmp_path / "secret.png")
    content = Page(write_report(copy).read_text(encoding="utf-8"))
    pictures = [e for e in content.all("img") if "figcaption" not in e.parents and e.attributes["alt"] == "<u>0</u>"]
    assert len(pictures) == 1  # that of fp16, which the manifest lists
    (copy / _bundle.WORST).unlink()
    gone = Page(write_report(copy).read_text(encoding="utf-8"))
    assert not [e for e in gone.all("img") if e.attributes["alt"] == "<u>0</u>"]
    assert [e for e in gone.all("span", class_="no-picture") if e.attributes["aria-label"] == "<u>0</u>, no picture"]


# ------------------------------------------------------------------------------------------- read without eyes


def accessible(page: Page) -> None:
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for reference in element.attributes.get("aria-labelledby", "").split():
            assert reference in ids
        if element.attributes.get("href", "").startswith("#"):
            assert element.attributes["href"][1:] in ids
    assert all(e.attributes.get("alt") for e in page.all("img"))
    assert all(e.attributes.get("scope") in ("row", "col") for e in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) >= 5
    figures = [e for e in page.all("svg") if e.attributes.get("aria-hidden") != "true"]
    assert figures
    assert all(e.attributes["role"] == "img" for e in figures)
    assert all(len(e.text) > 20 for e in page.all("desc"))
    assert [e.tag for e in page.elements if re.fullmatch("h[1-3]", e.tag)][:2] == ["h1", "h2"]
    assert page.all("html")[0].attributes["lang"] == "en"


def test_pictures_have_words_and_tables_have_headings(page: Page) -> None:
    accessible(page)


def test_it_follows_the_reader_s_colours_and_a_phone_s_width(page: Page) -> None:
    (style,) = page.all("style")
    assert "@media (prefers-color-scheme: dark)" in style.text
    assert "@media (max-width: 40rem)" in style.text
    assert page.all("meta", name="viewport")[0].attributes["content"] == "width=device-width, initial-scale=1"


# ------------------------------------------------------------------------------------------------- whole runs


def test_a_run_ends_with_its_report(finished: Finished, tmp_path: Path) -> None:
    path = finished.folder / REPORT
    content = path.read_text(encoding="utf-8")
    page = Page(content)
    accessible(page)
    manifest = json.loads((finished.folder / "bundle.json").read_text(encoding="utf-8"))
    (table,) = page.all("table", class_="artifacts")
    for artifact in manifest["artifacts"]:
        assert f".{artifact['path'].rpartition('.')[2]} {artifact['precision']}" in table.text
        assert f"{artifact['bytes'] / 1e6:.2f} MB" in table.text
    assert f"{manifest['source']['mAP']:.4f}" in table.text
    assert len(page.all("div", class_="query")) >= 10
    assert path.stat().st_size < 5_000_000
    # The same bundle gives the same bytes, wherever it lies.
    elsewhere = shutil.copytree(finished.folder, tmp_path / "elsewhere")
    (elsewhere / REPORT).unlink()
    assert write_report(elsewhere).read_text(encoding="utf-8") == content


def test_a_bundle_that_lacks_what_a_page_can_do_without_gets_the_report_it_can(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    for name in ("rankings.json", "metrics.jsonl", "recipe.yaml"):
        (copy / name).unlink()
    shutil.rmtree(copy / "gallery")
    manifest = json.loads((copy / "bundle.json").read_text(encoding="utf-8"))
    manifest |= {"controls": [], "compatibility": {}}
    del manifest["upgrade"], manifest["artifacts"][0]["photos"]
    (copy / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    page = Page(write_report(copy).read_text(encoding="utf-8"))
    accessible(page)
    assert "Not run: this bundle has none." in page.text
    assert not page.all("section", id="training")
    assert not page.all("section", id="queries")
    assert not page.all("section", id="photographs") and not page.all("section", id="old-galleries")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every key and element."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from leaves(item, (*path, key))


@pytest.mark.parametrize("name", ["bundle.json", "rankings.json"])
def test_whatever_is_missing_or_of_another_kind_ends_in_a_page_or_one_line(
    bundle: Path, tmp_path: Path, name: str
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    whole = json.loads((copy / name).read_text(encoding="utf-8"))
    draw = random.Random(1)
    places = [place for place in leaves(whole) if len(place) < 6]
    lines: list[str] = []
    for number, (*parents, key) in enumerate(draw.sample(places, 30)):
        damaged = part = json.loads(json.dumps(whole))
        for parent in parents:
            part = part[parent]
        if number % 2:
            del part[key]
        else:
            part[key] = draw.choice([None, "text", float("nan"), [], {"a": 1}, -1, 10**6])
        (copy / name).write_text(json.dumps(damaged), encoding="utf-8")
        try:
            Page(write_report(copy).read_text(encoding="utf-8"))
        except BadInput as error:
            lines.append(str(error))
    assert 0 < len(lines) < 30
    assert not [line for line in lines if "\n" in line]


@pytest.mark.parametrize(("name", "line"), [("metrics.jsonl", "line 1"), ("rankings.json", "")])
def test_a_damaged_file_is_named(bundle: Path, tmp_path: Path, name: str, line: str) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / name).write_text("[1, 2", encoding="utf-8")
    with pytest.raises(BadInput, match=f"{name}.*{line}.*damaged"):
        write_report(copy)
