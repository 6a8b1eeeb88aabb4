"""A bundle is verified from itself alone, every kind of damage is named, and the rest is still checked."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.bundle.consistency import checksum
from compress.bundle.golden import read_golden
from compress.bundle.manifest import Entry, file_hashes
from compress.commands.verify import Verification, verify
from compress.contracts import BadInput, MissingTool
from compress.gallery.store import GALLERY
from compress.model.checkpoint import load_model
from compress.system.files import artifact_bytes, artifact_sha256
from exporters import deploy
from exporters.torchscript import TorchScript
from tests._command import compress, compress_here
from tests.conftest import Finished
from validators.mlprogram.program import load

ARTIFACTS = ("tiny.fp32.pt", "tiny.fp32.ptl", "tiny.fp32.onnx", "tiny.fp32.tflite", "tiny.fp16.mlpackage")


@pytest.fixture
def bundle(finished: Finished, tmp_path: Path) -> Path:
    """A copy without the run's own state, as it would be handed to an app team."""
    folder = tmp_path / "handed over"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(".compress"))
    return folder


def flip(path: Path) -> None:
    """Invert one byte in the middle of a file, or of the largest file of a folder."""
    file = path if path.is_file() else max((f for f in path.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    change(manifest)
    manifest["checksum"] = checksum(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")


def recorded(manifest: dict[str, Any], file: str) -> dict[str, Any]:
    (found,) = [each for each in manifest["artifacts"] if each["path"] == f"artifacts/{file}"]
    return dict(found)


def entry(result: Verification, file: str) -> Entry:
    (found,) = [each for each in result.entries if each.path == f"artifacts/{file}"]
    return found


def forge_hashes(bundle: Path) -> None:
    """Make the manifest agree with whatever the files hold now."""

    def change(manifest: dict[str, Any]) -> None:
        for artifact in manifest["artifacts"]:
            path = bundle / artifact["path"]
            artifact |= {"sha256": artifact_sha256(path), "bytes": artifact_bytes(path)}
        manifest["files"] = file_hashes(bundle, {name.partition("/")[0] for name in manifest["files"]})

    edit(bundle, change)


# ------------------------------------------------------------------------------------------------- good bundles


def test_a_copy_elsewhere_passes_on_every_runtime(bundle: Path) -> None:
    ended = compress_here("verify", bundle, "--json")
    assert ended.code == 0, ended.stderr
    verdict = json.loads(ended.stdout)
    assert verdict["passed"] is True
    assert verdict["problems"] == []
    assert [Path(each["path"]).name for each in verdict["entries"]] == list(ARTIFACTS)
    for each in verdict["entries"]:
        half = each["precision"] == "fp16"
        assert each["evidence"] == ("reference" if half and sys.platform != "darwin" else "native")
        assert each["parity"]["min_cosine"] > (0.998 if half else 0.99999)
        assert {"min_cosine", "golden_neighbours"} <= {gate["name"] for gate in each["gates"]}


def test_without_pytorch_its_artifacts_are_reported_and_the_others_run(bundle: Path) -> None:
    heavy = ("torch", "torchvision", "lightning_fabric", "onnx", "onnxsim", "onnxscript", "litert_torch", "coremltools")
    ended = compress("verify", bundle, "--json", without=(*heavy, "safetensors", "mlxtend", "scipy"))
    assert ended.code == 0, ended.stderr
    entries = {Path(each["path"]).suffix: each for each in json.loads(ended.stdout)["entries"]}
    assert {suffix: each["evidence"] for suffix, each in entries.items()} == {
        ".pt": "not-run",
        ".ptl": "not-run",
        ".onnx": "native",
        ".tflite": "native",
        ".mlpackage": "not-run",
    }
    assert "'torch' is not installed" in entries[".pt"]["reason"]
    assert entries[".pt"]["parity"] is None


def test_without_any_runtime_it_says_what_to_install(bundle: Path) -> None:
    ended = compress(
        "verify",
        bundle,
        without=("torch", "onnxruntime", "ai_edge_litert", "coremltools"),
        # Not what 'make legacy', 'make arm', 'make web' and the others made.
        COMPRESS_LEGACY_PYTHON=sys.executable,
        COMPRESS_EXECUTORCH_PYTHON=sys.executable,
        COMPRESS_COREAI_PYTHON=sys.executable,
        COMPRESS_ARM="",
        COMPRESS_WEB="",
    )
    assert ended.code == 3
    assert "compress-retrieval[verify]" in ended.complaint


def test_another_runtime_alone_leaves_the_other_formats_unexecuted(bundle: Path) -> None:
    result = verify(bundle, "onnxruntime")
    assert not result.problems
    evidence = {each.format: each.evidence for each in result.entries}
    assert evidence == dict.fromkeys(evidence, "not-run") | {"onnx": "native"}
    assert entry(result, "tiny.fp32.pt").reason == "onnxruntime does not run torchscript"


# ------------------------------------------------------------------------------------------------------- damage


@pytest.mark.every_change("tiny.fp32.onnx", "tiny.fp16.mlpackage")
@pytest.mark.parametrize("file", ARTIFACTS)
def test_one_flipped_byte_is_found_in_every_artifact(bundle: Path, file: str) -> None:
    flip(bundle / "artifacts" / file)
    problems = verify(bundle, "onnxruntime").problems
    assert problems[0] == f"artifacts/{file}: changed since the bundle was made (sha256 differs)"
    assert all(line.startswith(f"artifacts/{file}") for line in problems)


@pytest.mark.every_change("recipe.yaml", "golden/golden.json")
@pytest.mark.parametrize(
    "file", ["recipe.yaml", "metrics.jsonl", "checkpoints/train.safetensors", "golden/golden.json", *ARTIFACTS[-1:]]
)
def test_a_missing_file_is_named(bundle: Path, file: str) -> None:
    path = bundle / file if (bundle / file).exists() else bundle / "artifacts" / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert f"{path.relative_to(bundle)}: missing" in verify(bundle, "onnxruntime").problems


@pytest.mark.nightly
def test_every_damage_is_told_at_once_and_the_sound_artifact_still_runs(bundle: Path) -> None:
    (bundle / "artifacts/tiny.fp32.pt").write_bytes(b"PK")
    (bundle / "artifacts/tiny.fp32.ptl").unlink()
    flip(bundle / "metrics.jsonl")
    ended = compress_here("verify", bundle, "--json")
    assert ended.code == 1
    verdict = json.loads(ended.stdout)
    assert verdict["passed"] is False
    assert ended.stderr.splitlines() == [f"FAILED {problem}" for problem in verdict["problems"]]
    for words in ("metrics.jsonl: changed", "tiny.fp32.ptl: missing", "tiny.fp32.pt: changed", "tiny.fp32.pt on torch"):
        assert [problem for problem in verdict["problems"] if words in problem], words
    evidence = {each["format"]: each["evidence"] for each in verdict["entries"]}
    assert (evidence["torchscript"], evidence["onnx"], evidence["tflite"]) == ("not-run", "native", "native")
    assert not [problem for problem in verdict["problems"] if ".onnx" in problem or ".tflite" in problem]


def test_two_artifacts_that_changed_places_are_both_named(bundle: Path) -> None:
    one, other = bundle / "artifacts/tiny.fp32.pt", bundle / "artifacts/tiny.fp32.onnx"
    one.rename(bundle / "aside")
    other.rename(one)
    (bundle / "aside").rename(other)
    result = verify(bundle, "onnxruntime")
    for name in ("tiny.fp32.pt", "tiny.fp32.onnx"):
        assert f"artifacts/{name}: changed since the bundle was made (sha256 differs)" in result.problems
        (found,) = [each for each in result.entries if each.path == f"artifacts/{name}"]
        assert (found.evidence, found.reason) == (
            "not-run",
            "its sha256 differs from the manifest's, so it was not executed",
        )


def test_a_changed_golden_image_is_named(bundle: Path) -> None:
    file = bundle / "golden/images/005.png"
    Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    problems = verify(bundle, "onnxruntime").problems
    assert problems[0].startswith("golden/images/005.png: changed")
    # And without the hash it would still show, by its tensor, and with that by its embedding.
    forge_hashes(bundle)
    (problem,) = verify(bundle, "onnxruntime").problems
    assert "images/005.png and images.u8 hold other pixels" in problem
    tensors = np.fromfile(bundle / "golden/images.u8", np.uint8).reshape(60, 32, 32, 3)
    tensors[5] = 255 - tensors[5]
    (bundle / "golden/images.u8").write_bytes(tensors.tobytes())
    forge_hashes(bundle)
    assert [line for line in verify(bundle, "onnxruntime").problems if "min_cosine" in line]


def test_a_golden_photograph_that_is_read_otherwise_is_named(bundle: Path) -> None:
    """As on a machine whose decoder does not turn it, even if all hashes agree."""
    file = bundle / "golden/photos/turned-6.jpg"
    with Image.open(file) as image:
        Image.frombytes(image.mode, image.size, image.tobytes()).save(file, quality=95)
    forge_hashes(bundle)
    (problem,) = verify(bundle, "onnxruntime").problems
    assert problem.startswith("golden/photos/turned-6.jpg: is read here with pixels up to ")


def features(bundle: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(bundle / GALLERY)) as database:
        return dict(database.execute("SELECT name, feature FROM images"))


def store(bundle: Path, changed: dict[str, bytes]) -> None:
    with closing(sqlite3.connect(bundle / GALLERY)) as database:
        for name, feature in changed.items():
            database.execute("UPDATE images SET feature = ? WHERE name = ?", (feature, name))
        database.commit()


def test_a_flipped_byte_in_the_gallery_is_named(bundle: Path) -> None:
    flip(bundle / GALLERY)
    assert f"{GALLERY}: changed since the bundle was made (sha256 differs)" in verify(bundle, "onnxruntime").problems


def test_two_exchanged_features_in_the_gallery_are_found_even_with_its_own_hash(bundle: Path) -> None:
    golden, stored = read_golden(bundle / "golden"), features(bundle)
    near = golden.neighbours[0][0].name
    far = next(name for name in stored if name not in [match.name for match in golden.neighbours[0]])
    store(bundle, {near: stored[far], far: stored[near]})
    forge_hashes(bundle)
    problems = verify(bundle, "onnxruntime").problems
    assert problems[0].startswith(f"{GALLERY}: ")
    assert "golden images have other neighbours in it than golden/golden.json records" in problems[0]
    # The control: exchanged back, the same steps leave nothing to find.
    store(bundle, stored)
    forge_hashes(bundle)
    assert not verify(bundle, "onnxruntime").problems


def test_features_under_other_names_are_the_gallerys_fault_and_no_artifacts(bundle: Path) -> None:
    names = list(features(bundle))
    store(bundle, dict(zip(names, [*list(features(bundle).values())[1:], features(bundle)[names[0]]], strict=True)))
    forge_hashes(bundle)
    (problem,) = verify(bundle, "onnxruntime").problems
    assert problem.startswith(f"{GALLERY}: 60 of 60 golden images have other neighbours")


def test_without_a_gallery_nothing_is_proved_about_neighbours_and_the_rest_still_runs(bundle: Path) -> None:
    (bundle / GALLERY).unlink()
    problems = verify(bundle, "onnxruntime").problems
    assert f"{GALLERY}: missing" in problems
    assert [line for line in problems if "there is no such gallery" in line]
    assert [line for line in problems if "golden_neighbours not a number" in line]
    assert not [line for line in problems if "min_cosine" in line]


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("golden/golden.json", b'{"images": ['),
        ("golden/images.u8", b"\0" * 3072),
        ("golden/golden.json", b"[]"),
        ("golden/embeddings.f32", b"\0" * 100),
        ("golden/images/000.png", b"\x89PNG"),
    ],
)
def test_a_broken_golden_pack_is_a_failed_verification_and_not_a_crash(bundle: Path, file: str, damage: bytes) -> None:
    (bundle / file).write_bytes(damage)
    result = verify(bundle, "onnxruntime")
    assert f"{file}: changed since the bundle was made (sha256 differs)" in result.problems
    assert [line for line in result.problems if "golden pack is damaged" in line]
    assert not [line for line in result.problems if "\n" in line]


# ------------------------------------------------------------------------------------------------------ forgery


def test_the_export_of_another_model_fails_even_with_its_own_hash(bundle: Path) -> None:
    model = load_model(bundle / "checkpoints/train.safetensors")
    for weight in model.network.parameters():
        weight.data += 0.05 * weight.data.std() if weight.numel() > 1 else 0
    TorchScript().write(deploy(model, name="tiny", license="CC0-1.0"), bundle / "artifacts/tiny.fp32.pt")
    forge_hashes(bundle)
    problems = verify(bundle, "torchscript").problems
    assert problems
    assert all(line.startswith("artifacts/tiny.fp32.pt on torchscript: ") for line in problems)
    assert [line for line in problems if "min_cosine" in line]


@pytest.mark.nightly
def test_one_weight_a_tenth_larger_is_found_in_core_ml_and_tflite(bundle: Path) -> None:
    file = bundle / "artifacts/tiny.fp32.tflite"
    change_a_weight(file, tflite_constant_with_the_largest_weight(file))
    package = bundle / "artifacts/tiny.fp16.mlpackage"
    weights = [value for value in load(package).constants.values() if isinstance(value, np.ndarray)]
    change_a_weight(package / "Data/com.apple.CoreML/weights/weight.bin", max(weights, key=lambda each: each.nbytes))
    problems = verify(bundle).problems
    for file in ("artifacts/tiny.fp32.tflite", "artifacts/tiny.fp16.mlpackage"):
        assert [line for line in problems if line.startswith(file) and "sha256" in line], problems


def test_one_weight_a_tenth_larger_is_found_even_with_its_own_hash(bundle: Path) -> None:
    file = bundle / "artifacts/tiny.fp32.tflite"
    change_a_weight(file, tflite_constant_with_the_largest_weight(file))
    forge_hashes(bundle)
    assert [line for line in verify(bundle, "litert").problems if "max_rel_error" in line]


def change_a_weight(file: Path, constant: np.ndarray) -> None:
    """Make the largest of the numbers, which lie in the file as they are, a tenth larger."""
    content = file.read_bytes()
    changed = constant.copy()
    largest = np.unravel_index(np.abs(constant.astype(np.float64)).argmax(), constant.shape)
    changed[largest] *= 1.1
    assert content.count(constant.tobytes()) == 1
    file.write_bytes(content.replace(constant.tobytes(), changed.tobytes()))


def tflite_constant_with_the_largest_weight(file: Path) -> np.ndarray:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    graph = model.subgraphs[0]
    weighted = [graph.tensors[operator.inputs[1]] for operator in graph.operators if len(operator.inputs) == 3]
    constants = [
        np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(np.float32)
        for tensor in weighted
        if tensor.type == schema.TensorType.FLOAT32 and model.buffers[tensor.buffer].data is not None
    ]
    return max(constants, key=lambda each: np.abs(each).max())


def test_the_control_for_the_forgery_passes(bundle: Path) -> None:
    """The same steps with the same model change nothing, so it was the model that was found out."""
    model = load_model(bundle / "checkpoints/train.safetensors")
    TorchScript().write(deploy(model, name="tiny", license="CC0-1.0"), bundle / "artifacts/tiny.fp32.pt")
    forge_hashes(bundle)
    assert not verify(bundle, "torchscript").problems


def test_a_gate_that_was_removed_from_the_manifest_is_applied_all_the_same(bundle: Path) -> None:
    edit(bundle, lambda manifest: [artifact.update(gates=[]) for artifact in manifest["artifacts"]])
    result = verify(bundle, "onnxruntime")
    assert {gate.name: gate.limit for gate in entry(result, "tiny.fp32.onnx").gates} == {
        "min_cosine": 0.99999,
        "min_centered_cosine": 0.9999,
        "max_rel_error": 1e-4,
        "golden_neighbours": 0.99,
        "control_ratio": 1.0,
    }


def test_an_artifact_is_held_against_the_sizes_measured_now(bundle: Path) -> None:
    """A manifest that claims fewer bytes than the file has does not pass a gate on bytes."""

    def change(manifest: dict[str, Any]) -> None:
        onnx = recorded(manifest, "tiny.fp32.onnx")
        onnx["gates"].append({"name": "bytes", "limit": 10, "value": 5, "passed": True})
        onnx["bytes"] = 5

    edit(bundle, change)
    size = (bundle / "artifacts/tiny.fp32.onnx").stat().st_size
    problems = verify(bundle, "onnxruntime").problems
    assert f"artifacts/tiny.fp32.onnx on onnxruntime: bytes {size:.6g}, limit 10" in problems
    assert [line for line in problems if line.startswith("bundle.json: artifacts/tiny.fp32.onnx") and "bytes 5" in line]


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.update(schema=2), ["bundle.json", "schema 2", "newer than 1", "upgrade"]),
        (lambda manifest: manifest.pop("schema"), ["bundle.json", "damaged", "schema"]),
        (lambda manifest: manifest.pop("artifacts"), ["bundle.json", "damaged", "artifacts"]),
        (lambda manifest: manifest.update(artifacts=[{"path": "x"}]), ["bundle.json", "damaged"]),
        (lambda manifest: manifest.update(artifacts={"a": 1}), ["bundle.json", "damaged"]),
        (lambda manifest: manifest.update(embedding={}), ["bundle.json", "damaged", "dim"]),
        (
            lambda manifest: manifest["artifacts"][0].update(
                gates=[{"name": "speed", "limit": 1, "value": 1, "passed": True}]
            ),
            ["speed"],
        ),
        (
            lambda manifest: manifest["artifacts"][0].update(path="../../etc/passwd"),
            ["bundle.json", "../../etc/passwd"],
        ),
        (lambda manifest: manifest["files"].update({"/etc/passwd": "0"}), ["bundle.json", "/etc/passwd"]),
    ],
)
def test_an_unusable_manifest_is_bad_input(
    bundle: Path, change: Callable[[dict[str, Any]], object], words: list[str]
) -> None:
    edit(bundle, change)
    with pytest.raises(BadInput) as caught:
        verify(bundle, "onnxruntime")
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_format_that_no_runtime_here_executes_is_bad_input_unless_a_runtime_is_named(bundle: Path) -> None:
    edit(bundle, lambda manifest: manifest["artifacts"][0].update(format="gguf"))
    with pytest.raises(BadInput, match=r"bundle\.json: .* has the format 'gguf', unknown here; .*--runtime NAME"):
        verify(bundle)
    assert any("gguf" in line for line in verify(bundle, "onnxruntime").problems)


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\0"])
def test_a_manifest_that_is_no_json_object_is_bad_input(bundle: Path, content: str) -> None:
    (bundle / "bundle.json").write_text(content)
    with pytest.raises(BadInput, match=r"bundle\.json: damaged"):
        verify(bundle)


def test_what_is_no_bundle_is_bad_input(tmp_path: Path, bundle: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere", bundle / "recipe.yaml"):
        ended = compress("verify", place, without=("torch",))
        assert ended.code == 2
        assert str(place) in ended.complaint


def test_an_unknown_or_unsuitable_runtime_is_refused(bundle: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'onnxruntime'"):
        verify(bundle, "onnxruntim")
    with pytest.raises(MissingTool, match=r"--runtime tensorflow_lite: .*not installed"):
        verify(bundle, "tensorflow_lite")
    edit(bundle, lambda manifest: manifest.update(artifacts=[recorded(manifest, "tiny.fp32.onnx")]))
    with pytest.raises(MissingTool, match="litert does not run onnx"):
        verify(bundle, "litert")


def test_the_golden_pack_holds_what_the_manifest_says(bundle: Path) -> None:
    golden = read_golden(bundle / "golden")
    assert golden.images.shape == (60, 32, 32, 3)
    assert golden.images.dtype == np.uint8
    assert golden.embeddings.shape == (60, 64)


# ------------------------------------------------------------------------------- what was recorded and what is required


def test_what_failed_when_the_bundle_was_made_fails_again(bundle: Path) -> None:
    def failing(manifest: dict[str, Any]) -> None:
        onnx = recorded(manifest, "tiny.fp32.onnx")
        onnx["gates"].append({"name": "mAP", "limit": 0.99, "value": onnx["retrieval"]["mAP"], "passed": False})
        manifest["controls"] = [{**each, "failed_gates": [], "caught": False} for each in manifest["controls"]]

    edit(bundle, failing)
    problems = verify(bundle, "onnxruntime").problems
    assert [line for line in problems if "mAP 0." in line and line.endswith("limit 0.99; failed when made")]
    assert len([line for line in problems if line.startswith("control ") and line.endswith("failed when made")]) == 10


@pytest.mark.nightly
def test_a_run_that_failed_a_gate_has_a_bundle_that_fails(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "failed"
    shutil.copytree(finished.folder, folder)
    ran = compress_here("run", finished.recipe, "--out", folder, "--set", "validate.gates.mAP=0.99")
    assert ran.code == 1
    verified = compress_here("verify", folder, "--runtime", "onnxruntime")
    assert verified.code == 1
    assert "mAP 0." in verified.stderr
    assert "failed when made" in verified.stderr


def test_required_formats_must_be_executed(bundle: Path) -> None:
    assert not verify(bundle, "onnxruntime", require=["onnx"]).problems
    (problem,) = verify(bundle, "onnxruntime", require=["onnx", "tflite"]).problems
    assert problem == "--require tflite: no tflite artifact was executed (onnxruntime does not run tflite)"
    with pytest.raises(BadInput, match=r"--require tflight: .*did you mean 'tflite'"):
        verify(bundle, require=["tflight"])
    flip(bundle / "artifacts/tiny.fp32.onnx")
    assert [
        line for line in verify(bundle, "onnxruntime", require=["onnx"]).problems if line.startswith("--require onnx")
    ]
