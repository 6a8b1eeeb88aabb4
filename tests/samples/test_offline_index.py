"""OfflineIndex in Kotlin and Swift, executed here and compared with what Compress does with the same photographs.

Kotlin runs on the JVM with its Android adapters, on stubs: LiteRT itself executes the file, SQLite itself keeps the
gallery, and ImageIO decodes. Swift runs on Linux (``make swift``): SQLite itself keeps the gallery; decoded photographs
and the artifact's embeddings come from Python.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sqlite3
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.bundle.golden import read_golden
from compress.bundle.golden_photos import write_golden_photos
from compress.bundle.manifest import read_manifest
from compress.commands.index import index
from compress.commands.search import query
from compress.contracts import BadInput, EmbeddingSpec, Preprocess
from compress.data.images import read_image
from compress.datasets.digits import Digits
from compress.gallery.store import GALLERY, TABLES, dtype_of, pack_features, read_gallery
from compress.system import sqlite as database
from tests.conftest import Finished
from tests.samples import _kotlin, _swift
from validators.metrics import evaluate_retrieval

METRICS = ("mAP", "mPC@5", "P@1")
# The digits of a bundle that COMPRESS_BUNDLE names are not made smaller, so antialiasing changes nothing there.
CONTROLS = ["swapped channels", *([] if "COMPRESS_BUNDLE" in os.environ else ["no antialiasing"])]


class App(ABC):
    """An app with this bundle, one of its artifacts and a gallery file."""

    def __init__(self, program: Path, bundle: Path, gallery: Path) -> None:
        self.program, self.bundle, self.gallery = program, bundle, gallery
        files = read_manifest(bundle).artifacts
        self.artifact = next(each.path for each in files if each.format == "tflite" and each.precision == "fp32")

    @abstractmethod
    def run(self, given: str, files: Sequence[Path], embedded: bool) -> subprocess.CompletedProcess[str]:
        """Execute the commands, which name these photographs, and whether they embed them."""

    def __call__(self, *commands: Sequence[str | Path | float]) -> list[dict[str, Any]]:
        """Open the index, execute the commands, close it; returns the answers."""
        lines = "".join("\t".join(map(str, command)) + "\n" for command in commands)
        files = sorted({each for command in commands for each in command if isinstance(each, Path)})
        done = self.run(lines, files, any(command[0] in ("add", "search") for command in commands))
        assert done.returncode == 0, done.stdout + done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(commands)
        return answers

    def refusal(self) -> str:
        """What it says when it does not open the gallery."""
        done = self.run("", [], False)
        assert done.returncode != 0
        return done.stderr

    def with_gallery(self, gallery: Path) -> App:
        return type(self)(self.program, self.bundle, gallery)

    def pixels(self, *files: Path) -> list[np.ndarray]:
        """What the artifact gets for these photographs, uint8 [H, W, 3]."""
        H, W = read_manifest(self.bundle).preprocess.resize
        answers = self(*(("prepare", file) for file in files))
        return [np.frombuffer(base64.b64decode(each["pixels"]), np.uint8).reshape(H, W, 3) for each in answers]


class KotlinApp(App):
    def run(self, given: str, files: Sequence[Path], embedded: bool) -> subprocess.CompletedProcess[str]:
        return _kotlin.executed(self.program, "samples.Offline", self.bundle, self.artifact, self.gallery, given=given)


class SwiftApp(App):
    def run(self, given: str, files: Sequence[Path], embedded: bool) -> subprocess.CompletedProcess[str]:
        prepared = self.bundle.parent / "prepared"
        inputs = _swift.prepare(prepared, self.bundle, [file for file in files if file.exists()])
        if embedded:
            _swift.embed(prepared, self.bundle / self.artifact, inputs)
        command = [self.program, self.bundle, self.artifact, self.gallery, prepared]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def swift_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _swift.build_offline_index(tmp_path_factory.mktemp("swift-offline"))


LANGUAGES = {
    "kotlin": pytest.param("kotlin", marks=pytest.mark.kotlin),
    "swift": pytest.param("swift", marks=pytest.mark.swift),
}


@pytest.fixture(params=LANGUAGES.values())
def app(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> App:
    if request.param == "swift":
        return SwiftApp(request.getfixturevalue("swift_program"), bundle, tmp_path / "app.sqlite")
    return KotlinApp(request.getfixturevalue("samples"), bundle, tmp_path / "app.sqlite")


@pytest.fixture
def photos(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> Path:
    """The held-out photographs of the bundle, as files under the names of its gallery."""
    held_out = read_gallery(bundle / GALLERY)
    if "COMPRESS_BUNDLE" in os.environ:  # of the data set that comes as a package
        manifest = read_manifest(bundle)
        assert manifest.data.dataset == "digits", f"{bundle}: no photographs are known for {manifest.data.dataset}"
        test = Digits().splits(seed=0).test
        arrays = {name: np.asarray(test.images[row]) for row, name in enumerate(test.ids)}
        for name, label in zip(held_out.names, held_out.labels, strict=True):
            path = tmp_path / "photos" / label / f"{name.replace('/', '-')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(arrays[name]).save(path)
    else:
        finished: Finished = request.getfixturevalue("finished")
        for name in held_out.names:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(finished.folder.parent / "photos" / name, path)
    return tmp_path / "photos"


def adding(folder: Path) -> list[str | Path]:
    """The command that adds every photograph of a folder, named and labelled as ``compress index`` does."""
    words: list[str | Path] = ["add"]
    for path in sorted(each for each in folder.rglob("*.*")):
        name = path.relative_to(folder)
        words += [name.as_posix(), "" if name.parent == Path() else name.parent.as_posix(), path]
    assert len(words) > 1
    return words


def content(gallery: Path) -> dict[str, Any]:
    """A gallery file without the thumbnails' bytes, which depend on the JPEG encoder."""
    with closing(sqlite3.connect(gallery)) as file:
        columns = "id, name, label, class, width, height, feature"
        return {
            "meta": {
                key: json.loads(value) for key, value in file.execute("SELECT * FROM meta") if key != "model_sha256"
            },
            "images": file.execute(f"SELECT {columns} FROM images ORDER BY id").fetchall(),
            "sources": file.execute("SELECT * FROM sources ORDER BY id").fetchall(),
        }


# ------------------------------------------------------------------------------------- the bundle's promises


def test_it_finds_the_golden_neighbours_and_scores_the_bundles_map(app: App) -> None:
    """In the gallery of the run, whose features are the PyTorch model's."""
    shutil.copy(app.bundle / GALLERY, app.gallery)
    golden, manifest = read_golden(app.bundle / "golden"), read_manifest(app.bundle)
    files = [app.bundle / "golden" / file for file in golden.files]
    (scores, *answers) = app(("evaluate",), *(("search", file, 11, "Infinity") for file in files))
    gallery = read_gallery(app.gallery)
    assert gallery.meta["of"] == gallery.meta["images"] == scores["queries"] == manifest.source.queries
    expected = dict(manifest.source.metrics())
    assert expected["mAP"] > 0.3
    assert {name: scores[name] for name in METRICS} == pytest.approx({name: expected[name] for name in METRICS})
    right = 0
    for number, answer in enumerate(answers):
        matches = [m for m in answer["matches"] if not golden.leave_one_out or m["name"] != golden.sources[number]]
        expected = golden.neighbours[number]
        limit = expected[-1].distance * (1 + 1e-5)
        right += sum(match["distance"] <= limit * (1 + 1e-3) for match in matches[: len(expected)])
        assert [m["distance"] for m in matches[:10]] == pytest.approx(
            [m.distance for m in expected], rel=1e-3, abs=1e-3
        )
    assert right == sum(len(each) for each in golden.neighbours)


def test_the_apps_gallery_is_that_of_compress_index_and_scores_what_the_bundle_says(
    app: App, photos: Path, tmp_path: Path
) -> None:
    command = adding(photos)
    added, scores = app(command, ("evaluate",))
    count = len(command) // 3
    assert added == {"embedded": count, "unchanged": 0, "undecodable": [], "size": count}
    index(app.bundle, [photos], tmp_path / "ours.sqlite", artifact=Path(app.artifact).name)
    assert content(app.gallery) == content(tmp_path / "ours.sqlite")
    entry = next(each for each in read_manifest(app.bundle).artifacts if each.path == app.artifact)
    assert entry.retrieval is not None
    expected = dict(entry.retrieval.metrics())
    assert {name: scores[name] for name in METRICS} == pytest.approx({name: expected[name] for name in METRICS})

    # What is searched and found is the same, too.
    found = sorted(photos.rglob("*.*"))
    chosen = found[:: len(found) // 4]
    answers = app(*(("search", file, 5, "Infinity") for file in chosen))
    for file, answer in zip(chosen, answers, strict=True):
        ours = query(app.bundle, file, top=5, artifact=Path(app.artifact).name, gallery=app.gallery).matches
        assert [(m["name"], m["label"]) for m in answer["matches"]] == [(m.name, m.label) for m in ours]
        assert [m["distance"] for m in answer["matches"]] == pytest.approx([m.distance for m in ours], abs=1e-9)

    # A threshold leaves out what is farther, to the last one.
    third = answers[0]["matches"][2]["distance"]
    near, none = app(("search", chosen[0], 5, third), ("search", chosen[0], 5, -1))
    assert near["matches"] == [match for match in answers[0]["matches"] if match["distance"] <= third]
    assert none["matches"] == []


@pytest.mark.parametrize("app", [LANGUAGES["kotlin"]], indirect=True)
@pytest.mark.parametrize("control", CONTROLS)
def test_a_wrong_way_to_the_network_gives_other_features_and_another_map(
    app: App, photos: Path, tmp_path: Path, control: str
) -> None:
    """The negative controls of the tests above."""
    tinted = [file.with_suffix(".png") for file in sorted(photos.rglob("*.*"))]
    for file, new in zip(sorted(photos.rglob("*.*")), tinted, strict=True):
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB")) * np.array([1, 0.6, 0.2])
        file.unlink()
        Image.fromarray(pixels.astype(np.uint8)).save(new)
    index(app.bundle, [photos], tmp_path / "ours.sqlite", artifact=Path(app.artifact).name)
    right = evaluate(tmp_path / "ours.sqlite")
    if control == "swapped channels":
        for file in tinted:
            with Image.open(file) as image:
                pixels = np.asarray(image)
            Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])).save(file)
    else:
        change_preprocess(app.bundle, antialias=False)
    _, scores = app(adding(photos), ("evaluate",))
    assert abs(scores["mAP"] - right["mAP"]) > 1e-3
    features, ours = (read_gallery(file).features for file in (app.gallery, tmp_path / "ours.sqlite"))
    assert np.abs(features - ours).max() > 1e-3 * np.abs(ours).max()


def change_preprocess(bundle: Path, **values: Any) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["preprocess"].update(values)
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")


def evaluate(gallery: Path) -> dict[str, float]:
    """Score a gallery with itself as queries, as Compress does."""
    found = read_gallery(gallery)
    features, labels = found.features, np.array(found.labels)
    distance = found.embedding.distance
    return evaluate_retrieval(features, features, labels, labels, distance=distance, metrics=METRICS, exclude_self=True)


# --------------------------------------------------------------------------------------- a photograph's way


def scene(width: int, height: int) -> np.ndarray:
    """Colours, fine stripes and no symmetry: uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    random = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    waves = np.stack([x * 255 / width, 127 * (1 + np.sin(x / 1.7 + y / 2.3)), y * 255 / height], axis=-1)
    return np.clip(waves * 0.8 + random, 0, 255).astype(np.uint8)


@pytest.fixture
def camera(tmp_path: Path) -> dict[str, Path]:
    """Photographs of camera shape: every EXIF turn, in both byte orders, alpha, grey and a palette."""
    picture = Image.fromarray(scene(421, 307))
    files = {}
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        for kind in ("png", "jpg"):
            files[f"{kind} {turn}"] = tmp_path / f"turn{turn}.{kind}"
            picture.save(files[f"{kind} {turn}"], exif=exif, quality=95)
    big_endian = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    picture.save(tmp_path / "big.jpg", exif=big_endian, quality=95)
    alpha = np.dstack([scene(421, 307), scene(421, 307)[..., 2]])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    picture.convert("L").save(tmp_path / "grey.png")
    picture.quantize(64).save(tmp_path / "palette.png")
    Image.fromarray(scene(31, 900)).save(tmp_path / "thin.png")
    Image.fromarray(scene(9, 7)).save(tmp_path / "small.png")
    others = ("big.jpg", "alpha.png", "grey.png", "palette.png", "thin.png", "small.png")
    return files | {name: tmp_path / name for name in others}


@pytest.mark.parametrize("crop", ["none", "center", "pad"])
def test_photographs_are_upright_and_resized_as_in_training(app: App, camera: dict[str, Path], crop: str) -> None:
    change_preprocess(app.bundle, crop=crop, resize=[48, 64])
    preprocess = read_manifest(app.bundle).preprocess.value
    assert (preprocess.size, preprocess.crop) == ((48, 64), crop)
    expected = {name: read_image(file, preprocess).astype(int) for name, file in camera.items()}
    found = dict(zip(camera, app.pixels(*camera.values()), strict=True))
    worst = {name: int(np.abs(found[name] - expected[name]).max()) for name in camera}
    # JPEG decoders may differ; and Pillow 13 resizes tall pictures in the other direction first.
    limit = {name: int(file.suffix == ".jpg" or name == "thin.png") for name, file in camera.items()}
    assert {name: each for name, each in worst.items() if each > limit[name]} == {}

    # The control: what an app gives that ignores the turn.
    for turn in range(2, 9):
        assert np.abs(found[f"png {turn}"] - expected["png 1"]).max() > 50


def test_golden_photographs_are_read_as_the_bundle_says(app: App, tmp_path: Path) -> None:
    manifest, images = read_manifest(app.bundle), read_golden(app.bundle / "golden").images
    photos = write_golden_photos(tmp_path / "golden", images, manifest.preprocess.value, longest=640)
    # Java decodes no CMYK, which Android and Apple's systems do.
    chosen = {file: pixels for file, pixels in zip(photos.files, photos.pixels, strict=True) if "cmyk" not in file}
    assert len(chosen) == 10
    found = app.pixels(*(tmp_path / "golden" / file for file in chosen))
    for pixels, expected in zip(found, chosen.values(), strict=True):
        assert np.abs(pixels - expected.astype(int)).max() <= 1


def test_a_resize_without_antialiasing_is_found_out(app: App, camera: dict[str, Path]) -> None:
    change_preprocess(app.bundle, antialias=False)
    (found,) = app.pixels(camera["png 1"])
    expected = read_image(camera["png 1"], Preprocess(read_manifest(app.bundle).preprocess.resize))
    assert np.abs(found - expected.astype(int)).max() > 20


def test_a_preprocessing_that_the_app_does_not_know_is_refused(app: App) -> None:
    change_preprocess(app.bundle, color="BGR")
    assert "preprocess.color is BGR; update OfflineIndex" in app.refusal()


# -------------------------------------------------------------------------------------------- a living album


def test_only_new_content_is_embedded_and_the_result_is_that_of_a_fresh_index(
    app: App, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    album, name = tmp_path / "album", Path(app.artifact).name
    for label in (1, 2, 4):
        save_photos(album / f"kind {label}", label, 5)
    assert app(adding(album))[0]["embedded"] == 15

    # Since then: three new ones of a label in between, one edited, one renamed, one copied, two gone.
    save_photos(album / "kind 3", 3, 3)
    save_photos(album / "kind 1", 1, 1, first=77, name="000002.jpg")
    shutil.move(album / "kind 4/000000.jpg", album / "a.jpg")
    shutil.copy(album / "kind 4/000001.jpg", album / "kind 4/copy.jpg")
    for gone in ("kind 1/000000.jpg", "kind 2/000004.jpg"):
        (album / gone).unlink()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    added, removed, lost = app(
        [*adding(album), "broken.jpg", "", tmp_path / "broken.jpg"],
        ("remove", "kind 1/000000.jpg", "kind 2/000004.jpg", "kind 4/000000.jpg", "never there"),
        ("add", "new", "", album / "kind 3/000000.jpg", "lost", "", album / "lost.jpg"),
    )
    assert added == {"embedded": 4, "unchanged": 13, "undecodable": ["broken.jpg"], "size": 20}
    assert removed == {"removed": 3, "size": 17}
    assert lost["error"]  # the file cannot be read, and so "new" is not there either

    fresh = tmp_path / "fresh.sqlite"
    index(app.bundle, [album], fresh, artifact=name)
    assert content(app.gallery) == content(fresh)

    # Either continues the other's file without embedding anything.
    update = index(app.bundle, [album], app.gallery)[1]
    assert (update.embedded, update.unchanged, update.images) == (0, 17, 17)
    (again, picture, none) = app.with_gallery(fresh)(
        adding(album), ("thumbnail", "kind 3/000001.jpg"), ("thumbnail", "nobody")
    )
    assert again == {"embedded": 0, "unchanged": 17, "undecodable": [], "size": 17}
    assert picture["jpeg"]
    assert none == {"jpeg": None}


@pytest.mark.parametrize("app", [LANGUAGES["kotlin"]], indirect=True)
def test_thumbnails_show_the_photograph(app: App, tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    (file,) = save_photos(tmp_path, 2, 1)
    _, answer = app(("add", "one", "", file), ("thumbnail", "one"))
    with Image.open(io.BytesIO(base64.b64decode(answer["jpeg"]))) as image:
        assert max(image.size) <= 96
        found = np.asarray(image.convert("RGB"), dtype=float)
    expected = read_image(file, Preprocess(found.shape[:2])).astype(float)
    assert np.abs(found - expected).mean() < 8  # JPEG, and two resizes
    assert np.abs(found[..., ::-1] - expected).mean() > 16


def test_galleries_that_do_not_fit_are_refused(
    app: App, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    (file,) = save_photos(tmp_path, 0, 1)
    shutil.copy(app.bundle / GALLERY, app.gallery)
    (answer,) = app(("add", "one", "", file))
    assert "the gallery of a run" in answer["error"]
    with closing(sqlite3.connect(app.gallery)) as gallery, gallery:
        gallery.execute("UPDATE meta SET value = '\"0123456789abcdef\"' WHERE key = 'space_id'")
    assert "the gallery's space_id is" in app.refusal() and "0123456789abcdef" in app.refusal()
    for schema, words in (
        ("2", "the gallery is newer than this app"),
        (None, "the gallery is damaged: it has no schema"),
    ):
        with closing(sqlite3.connect(app.gallery)) as gallery, gallery:
            gallery.execute("DELETE FROM meta WHERE key = 'schema'")
            gallery.executemany("INSERT INTO meta VALUES ('schema', ?)", [(schema,)] if schema else [])
        assert words in app.refusal()
        with pytest.raises(BadInput, match=r"schema 2 is newer than 1|the gallery is damaged"):
            query(app.bundle, file, top=1, gallery=app.gallery)
    shutil.copy(app.bundle / GALLERY, app.gallery)
    with closing(sqlite3.connect(app.gallery)) as gallery, gallery:
        gallery.execute("UPDATE meta SET value = '\"0123456789abcdef\"' WHERE key = 'space_id'")
    with pytest.raises(BadInput, match="made in the embedding space"):
        query(app.bundle, file, top=1, gallery=app.gallery)


def test_galleries_of_an_older_model_are_searched_if_the_bundle_was_trained_for_it(
    app: App, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    """As ``compress search`` does: with the first values, without thresholds, and without adding anything."""
    (file,) = save_photos(tmp_path, 2, 1)
    manifest = json.loads((app.bundle / "bundle.json").read_text(encoding="utf-8"))
    spec, space = manifest["embedding"], "of-the-old-model"
    dim, features = spec["dim"] - 9, read_gallery(app.bundle / GALLERY).features
    meta = {"schema": 1, "space_id": space, "dim": dim, "kind": spec["kind"], "distance": spec["distance"]}
    meta |= {"artifact": "old.tflite", "artifact_sha256": "0" * 64, "runtime": "litert"}
    write_rows(app.gallery, meta, features[:, :dim], ["a"] * len(features))
    assert "the gallery's space_id is" in app.refusal() and space in app.refusal()

    def upgraded(dim: int, gain: float) -> None:
        gate = {"name": "old_gallery_gain", "limit": 0.0, "value": gain, "passed": gain >= 0}
        values = {"space_id": space, "dim": dim, "queries": 60, "old_mAP": 0.5, "partly": [], "lowest": "pytorch"}
        values |= {"gain": gain, "gain_low": gain, "gain_high": gain, "gates": [gate]}
        (app.bundle / "bundle.json").write_text(json.dumps({**manifest, "upgrade": values}), encoding="utf-8")

    upgraded(dim, gain=0.1)
    answer, added, threshold = app(("search", file, 5, "Infinity"), ("add", "one", "", file), ("threshold", 0.01))
    ours = query(app.bundle, file, top=5, artifact=Path(app.artifact).name, gallery=app.gallery).matches
    assert [match["name"] for match in answer["matches"]] == [match.name for match in ours]
    # The app takes the distance of a picture from itself, rounding alone, for 0.
    assert [match["distance"] for match in answer["matches"]] == pytest.approx([m.distance for m in ours], abs=1e-5)
    assert "the gallery of an older model and can only be searched" in added["error"]
    assert threshold == {"distance": None}

    upgraded(dim + 1, gain=0.1)
    assert "the gallery is damaged: its embeddings are not those of its space" in app.refusal()
    upgraded(dim, gain=-0.1)
    assert "in which this one finds less (old_gallery_gain failed); make a new gallery" in app.refusal()
    with pytest.raises(BadInput, match=r"finds less \(old_gallery_gain failed\)"):
        query(app.bundle, file, top=1, gallery=app.gallery)


def write_rows(gallery: Path, meta: dict[str, Any], features: np.ndarray, labels: Sequence[str]) -> None:
    """Write a gallery of these features, float32 [n, dim], which are named by their row."""
    meta = {**meta, "dtype": dtype_of(meta["kind"]), "images": len(features), "of": len(features)}
    with database.written(gallery, TABLES) as file:
        file.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in meta.items()])
        for number, (feature, label) in enumerate(zip(pack_features(features, meta["kind"]), labels, strict=True)):
            row = (number, f"{number:03d}", label, 0, 1, 1, b"", feature.tobytes())
            file.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def test_thresholds_are_the_artifacts_own(app: App) -> None:
    manifest = json.loads((app.bundle / "bundle.json").read_text(encoding="utf-8"))
    for number, entry in enumerate(manifest["artifacts"]):
        entry["thresholds"] = {"at": [{"false_accept_rate": 0.01, "distance": number + 0.5}]}
        entry["thresholds"]["at"].append({"false_accept_rate": 0.001, "distance": None})
    (app.bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    number = [entry["path"] for entry in manifest["artifacts"]].index(app.artifact)
    found = app(*(("threshold", rate) for rate in (0.01, 0.001, 0.5)))
    assert [each["distance"] for each in found] == [number + 0.5, None, None]


@pytest.mark.parametrize("distance", ["hamming", "cosine", "l2"])
def test_scores_with_ties_equal_those_of_compress(app: App, distance: str) -> None:
    """Codes of few bits, and repeated features: most distances tie. One image is the only one of its label."""
    random = np.random.default_rng(1)
    spec = EmbeddingSpec(11, kind="binary" if distance == "hamming" else "float", distance=distance)  # type: ignore
    features = random.integers(0, 2, (90, 11)).astype(np.float32) * (1 if distance == "hamming" else 3.3)
    labels = [*random.choice(["a", "b", "c", "d"], 89), "alone"]
    manifest = json.loads((app.bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["embedding"].update(dim=11, kind=spec.kind, distance=distance)
    (app.bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    meta = {"schema": 1, "space_id": manifest["embedding"]["space_id"], "dim": 11, "kind": spec.kind}
    write_rows(app.gallery, {**meta, "distance": distance}, features, labels)
    (scores,) = app(("evaluate",))
    expected = evaluate(app.gallery)
    assert {name: scores[name] for name in METRICS} == pytest.approx(expected, abs=1e-9)
    assert (scores["queries"], scores["empty"]) == (90, 1)
    # The control: ties broken by the gallery's order would give another score.
    best = evaluate_retrieval(
        features, features, labels, labels, distance=spec.distance, metrics=["mAP/best"], exclude_self=True
    )
    assert abs(best["mAP/best"] - scores["mAP"]) > 1e-3
