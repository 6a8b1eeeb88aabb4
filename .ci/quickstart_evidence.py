"""What only the whole quickstart shows: each format was executed, on which kind of runtime, and how close it came."""

import json
import sys
from pathlib import Path

# Suffix and precision -> evidence on Linux, least cosine.
EXPECTED = {
    (".pt", "fp32"): ({"native"}, 0.99999),
    (".ptl", "fp32"): ({"native"}, 0.99999),
    (".onnx", "fp32"): ({"native"}, 0.99999),
    (".tflite", "fp32"): ({"native", "older-runtime"}, 0.99999),
    (".mlpackage", "fp32"): ({"reference"}, 0.9999),
    (".mlpackage", "fp16"): ({"reference"}, 0.998),
}

entries = json.loads((Path(sys.argv[1]) / "bundle.json").read_text(encoding="utf-8"))["artifacts"]
for (suffix, precision), (evidence, cosine) in EXPECTED.items():
    (file,) = [e for e in entries if Path(e["path"]).suffix == suffix and e["precision"] == precision]
    found = [file, *file["other_runtimes"]]
    assert {e["evidence"] for e in found} == evidence, (suffix, precision, [e["evidence"] for e in found])
    assert all(e["parity"]["min_cosine"] >= cosine and e["retrieval"]["mAP"] > 0.8 for e in found), found
print(f"{sys.argv[1]}: every format executed, evidence and parity as expected")
