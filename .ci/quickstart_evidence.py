"""What only the whole quickstart shows: every format on every kind of processor, and how close it came."""

import json
import sys
from pathlib import Path

# Suffix and precision -> (evidence, processor) of each runtime on x86-64 Linux, least cosine.
CPU, OLDER, REFERENCE = ("native", "x86"), ("older-runtime", "x86"), ("reference", "x86")
NOT_RUN = ("not-run", "x86")
GPU, ARM, BROWSER = ("gpu-software", "gpu"), ("emulated-arm", "arm"), ("native", "browser")
EXPECTED = {
    (".pt", "fp32"): ({CPU}, 0.99999),
    (".ptl", "fp32"): ({CPU}, 0.99999),
    (".onnx", "fp32"): ({CPU, ARM, BROWSER}, 0.99999),
    (".tflite", "fp32"): ({CPU, OLDER, GPU, ARM, BROWSER}, 0.99999),
    (".mlpackage", "fp32"): ({REFERENCE}, 0.9999),
    (".mlpackage", "fp16"): ({REFERENCE}, 0.998),
    (".pte", "fp32"): ({CPU}, 0.99999),
    (".coreml.pte", "fp16"): ({REFERENCE, NOT_RUN}, 0.998),
    (".aimodel", "fp32"): ({CPU}, 0.99999),
    (".aimodel", "fp16"): ({CPU}, 0.998),
}
HALF_PRECISION = 0.998
"""Least cosine on a GPU, which computes in half precision unless it is told not to."""

entries = json.loads((Path(sys.argv[1]) / "bundle.json").read_text(encoding="utf-8"))["artifacts"]
for (suffix, precision), (expected, cosine) in EXPECTED.items():
    (file,) = [e for e in entries if e["path"].endswith(f".{precision}{suffix}")]
    rows = [file, *file["other_runtimes"]]
    found = {(row["evidence"], row["processor"]) for row in rows}
    assert found == expected, (suffix, precision, found, [row["reason"] for row in rows])
    for row in rows:
        if row["evidence"] == "not-run":
            assert "only on macOS" in row["reason"], row
            continue
        least = min(cosine, HALF_PRECISION) if row["processor"] == "gpu" else cosine
        assert row["parity"]["min_cosine"] >= least, row
        if row["latency_ms"] is not None or row["evidence"] == "reference":  # others search a sample of the gallery
            assert row["retrieval"]["mAP"] > 0.8, row
        assert all(gate["passed"] for gate in row["gates"]), row
        assert (row["latency_ms"] is None) == (row["evidence"] in ("reference", "gpu-software", "emulated-arm")), row
print(f"{sys.argv[1]}: every format executed on every processor, evidence and parity as expected")
