"""Make a folder of static files that searches a bundle's gallery in the browser. Nothing of Compress is imported.

    npm install --ignore-scripts --prefix packages onnxruntime-web@1.30.0 @litertjs/core@2.5.3
    python make_site.py BUNDLE packages SITE [artifacts/NAME.tflite]
    python -m http.server --bind 127.0.0.1 --directory SITE

SITE can be served by any web server that gives .wasm files the type application/wasm. It holds index.html, the
artifact (by default the first .tflite, otherwise the first .onnx), bundle.json, the golden images, the files of its
npm package, and the gallery, exported from SQLite:

    site.json       artifact: its path; meta: the gallery's table of this name; names and labels, one for each image;
                    thumbnail_ends: where each image's JPEG ends in thumbnails.bin
    features.bin    the column "feature", one after the other: float32 little-endian, or bits
    thumbnails.bin  the column "thumbnail", one after the other: JPEG
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from pathlib import Path

PACKAGES = {
    "tflite": (
        "@litertjs/core/dist/index.js",
        "@litertjs/core/wasm/litert_wasm_internal.js",
        "@litertjs/core/wasm/litert_wasm_internal.wasm",
        "@litertjs/core/wasm/litert_wasm_compat_internal.js",  # for browsers without relaxed SIMD
        "@litertjs/core/wasm/litert_wasm_compat_internal.wasm",
        "@litertjs/wasm-utils/dist/index.js",
    ),
    "onnx": (
        "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
        "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    ),
}
"""Format -> what the page loads of node_modules."""


def chosen_artifact(manifest: dict, path: str | None) -> dict:
    """The entry of ``path`` in bundle.json, or of the first file that a browser runs."""
    able = [entry for wanted in PACKAGES for entry in manifest["artifacts"] if entry["format"] == wanted]
    for entry in able:
        if path in (None, entry["path"]):
            return entry
    raise SystemExit(f"{path or 'the bundle'}: no .tflite or .onnx (there are: {[entry['path'] for entry in able]})")


def export_gallery(path: Path, artifact: str, out: Path) -> None:
    """Write site.json, features.bin and thumbnails.bin."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    meta = {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM meta")}
    rows = database.execute("SELECT name, label, feature, thumbnail FROM images ORDER BY id").fetchall()
    database.close()
    if meta["kind"] == "local":
        raise SystemExit(f"{path}: the page compares one feature per image, this gallery has local features")
    names, labels, features, thumbnails = zip(*rows, strict=True)
    (out / "features.bin").write_bytes(b"".join(features))
    (out / "thumbnails.bin").write_bytes(b"".join(thumbnails))
    ends = [0]
    for thumbnail in thumbnails:
        ends.append(ends[-1] + len(thumbnail))
    site = {"artifact": artifact, "meta": meta, "names": names, "labels": labels, "thumbnail_ends": ends[1:]}
    (out / "site.json").write_text(json.dumps(site), encoding="utf-8")


def main() -> None:
    bundle, packages, out = (Path(each) for each in sys.argv[1:4])
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    artifact = chosen_artifact(manifest, sys.argv[4] if len(sys.argv) > 4 else None)
    out.mkdir(parents=True, exist_ok=True)
    export_gallery(bundle / "gallery/gallery.sqlite", artifact["path"], out)
    shutil.copyfile(Path(__file__).with_name("index.html"), out / "index.html")
    golden = ["golden/golden.json", "golden/embeddings.f32"]
    golden += [f"golden/images/{image.name}" for image in sorted((bundle / "golden/images").iterdir())]
    copies = {name: bundle / name for name in ("bundle.json", artifact["path"], *golden)}
    used = [f"node_modules/{name}" for name in PACKAGES[artifact["format"]]]
    copies.update({name: packages / name for name in used})
    for name, source in copies.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / name)
    total = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {artifact['path']}, {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
