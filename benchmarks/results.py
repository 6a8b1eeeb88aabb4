"""Write the tables of README.md and docs/results.md from finished bundles: ``python -m benchmarks.results runs``.

Every number comes from a ``bundle.json`` or ``metrics.jsonl`` below the given folder; tables whose bundles are not
there are not changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from compress.bundle.manifest import Entry
from compress.bundle.processors import where

ROOT = Path(__file__).parent.parent

# OMCBIR (Zhang et al. 2023), tables 2 and 7, in percent. Of the ablations it has no mAP@5 and no FLOPs.
PUBLISHED = {
    "alnet_mnist": ("ALNet", "96.61", "99.80", "4.56 M", "0.78 M", "3.4 MB"),
    "lnet_mnist": ("LNet", "81.28", "-", "-", "0.55 M", "2.3 MB"),
    "lnet_cs_mnist": ("LNet + CS", "92.76", "-", "-", "0.55 M", "2.3 MB"),
    "lnet_cbam_mnist": ("LNet + CBAM", "86.41", "-", "-", "0.77 M", "3.3 MB"),
    "mobilenet_v1_mnist": ("MobileNets", "86.40", "98.51", "44.04 M", "3.22 M", "13.1 MB"),
    "shufflenet_v1_mnist": ("ShuffleNet", "27.03", "98.51", "26.04 M", "0.93 M", "4.7 MB"),
    "shufflenet_v2_mnist": ("ShuffleNetV2", "84.81", "99.23", "39.29 M", "1.27 M", "5.5 MB"),
    "mobilenet_v2_mnist": ("MobileNetV2", "83.91", "99.14", "6.10 M", "2.24 M", "9.3 MB"),
    "efficientnet_b0_mnist": ("EfficientNet", "21.67", "93.64", "1.09 M", "4.02 M", "16.7 MB"),
}
OTHERS = {
    "alnet_fashion_mnist": "Fashion-MNIST",
    "alnet_cifar10": "CIFAR-10",
    "alnet_photos": "clothing photographs",
}
# Data set -> (network before, runs of the same weights made smaller).
SMALLER = {
    "Fashion-MNIST": ("alnet_fashion_mnist", ("quantized", "qat", "pruned", "fast")),
    "CIFAR-10": ("alnet_cifar10", ("quantized", "qat", "pruned")),
}
# Run -> (system, data set, metric).
SYSTEMS = {
    "mobilenet_hash_16_fashion_mnist": ("OrthoHash, MobileNetV1", "Fashion-MNIST", "mAP@100/hits"),
    "mobilenet_hash_32_fashion_mnist": ("OrthoHash, MobileNetV1", "Fashion-MNIST", "mAP@100/hits"),
    "mobilenet_hash_64_fashion_mnist": ("OrthoHash, MobileNetV1", "Fashion-MNIST", "mAP@100/hits"),
    "mobilenet_hash_cifar10": ("OrthoHash, MobileNetV1", "CIFAR-10, `hashing_59k`", "mAP"),
    "ssdh_cifar10": ("SSDH, MobileNetV1", "CIFAR-10, `hashing_59k`", "mAP"),
    "dlbh_cifar10": ("DLBH, MobileNetV1", "CIFAR-10, `hashing_59k`", "mAP"),
    "deep_hash_lite0_cifar10": ("deep hashing, ImageNet trunk", "CIFAR-10, `hashing_59k`", "mAP"),
    "gem_emoji": ("GeM, ArcFace", "emoji of two vendors", "mAP"),
    "gem_emoji_cross_entropy": ("average pooling, cross-entropy", "emoji of two vendors", "mAP"),
    "sir_photos": ("SIR, ImageNet trunk", "clothing photographs", "mAP"),
    "netvlad_photos": ("NetVLAD, ImageNet trunk", "clothing photographs", "mAP"),
    "fusion_photos": ("feature fusion", "clothing photographs", "mAP"),
    "delf_photos": ("DELF", "clothing photographs", "mAP"),
    "resnet_photos": ("ResNet-18", "clothing photographs", "mAP"),
    "lcnet_photos": ("LCNet-0.5, GeM", "clothing photographs", "mAP"),
    "mobilenet_v3_gem_photos": ("MobileNetV3-small, GeM", "clothing photographs", "mAP"),
    "mobilenet_v4_photos": ("MobileNetV4-conv-small-0.5, GeM", "clothing photographs", "mAP"),
    "alnet_photos": ("ALNet", "clothing photographs", "mAP"),
}


def main(runs: Path) -> None:
    for name, (page, table) in TABLES.items():
        if (lines := table(runs)) is not None:
            path = ROOT / page
            path.write_text(replaced(path.read_text(encoding="utf-8"), name, lines), encoding="utf-8")


def replaced(text: str, name: str, lines: Sequence[str]) -> str:
    """``text`` with ``lines`` between the comments ``name`` and ``/name``."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, rest = text.split(start)
    return head + start + "".join(f"{line}\n" for line in lines) + end + rest.split(end)[1]


def quickstart(runs: Path) -> list[str] | None:
    if not (bundle := _bundle(runs / "quickstart_everywhere")):
        return None
    rows = [["PyTorch", "", "", "", "", _percent(bundle["source"]["mAP"]), ""]]
    for entry in _executions(bundle):
        ran, latency = entry["parity"] is not None, entry["latency_ms"]
        rows.append(
            [
                f"`{Path(entry['path']).suffix}` {entry['precision']}",
                where(Entry.from_json(entry)),
                _megabytes(entry["bytes"]),
                f"{latency['median']:.2f} ms" if latency else "-",
                f"{entry['parity']['min_cosine']:.7f}" if ran else "-",
                _percent(entry["retrieval"]["mAP"]) if ran else "-",
                _verdict(entry["gates"]),
            ]
        )
    return list(_markdown(["artifact", "where", "size", "latency", "min cosine", "mAP", "gates"], rows))


def mnist(runs: Path) -> list[str] | None:
    rows = []
    for name, (network, *published) in PUBLISHED.items():
        if (bundle := _bundle(runs / name)) is None:
            continue
        source, sizes = bundle["source"], bundle["architecture"]
        rows.append(
            [
                network,
                *_measured(runs / name, bundle),
                _percent(source.get("mPC")),
                _percent(source.get("mAP@5/hits/with_query")),
                f"{sizes['macs_with_batch_norm'] / 1e6:.2f} M",
                *published,
            ]
        )
    if not rows:
        return None
    titles = [*_MEASURED, "mPC (Eq. 8)", "AP@5, query kept", "MACs"]
    titles += ["published: mAP", "mAP@5", "FLOPs", "parameters", "size"]
    return list(_markdown(["MNIST", *titles], rows))


def others(runs: Path) -> list[str] | None:
    rows = []
    for name, title in OTHERS.items():
        if (bundle := _bundle(runs / name)) is None:
            return None
        rows.append([f"{title}, {bundle['data']['splits']['train']:,} images", *_measured(runs / name, bundle)])
    return list(_markdown(["ALNet on", *_MEASURED], rows))


def smaller(runs: Path) -> list[str] | None:
    rows = []
    for data, (before, variants) in SMALLER.items():
        found = [(variant, bundle) for variant in variants if (bundle := _bundle(runs / f"{before}_{variant}"))]
        if (original := _bundle(runs / before)) is None or not found:
            return None
        start = original["source"]["mAP"]
        rows += [
            [
                data,
                variant,
                f"`{Path(entry['path']).suffix}` {entry['precision']}",
                f"{bundle['architecture']['macs'] / 1e6:.2f} M",
                _megabytes(entry["bytes"]),
                _percent(entry["retrieval"]["mAP"]),
                f"{round(100 * (start - entry['retrieval']['mAP']), 2) + 0.0:.2f}",
                f"{entry['parity']['min_cosine']:.4f}",
                entry["evidence"],
            ]
            for variant, bundle in (("", original), *found)
            for entry in bundle["artifacts"]
            if entry["retrieval"] and (entry["precision"] != "fp32" or entry["format"] == "tflite")
            if variant not in ("quantized", "qat") or entry["precision"] not in ("fp32", "fp16")
        ]
    titles = ["data", "how", "file", "MACs", "size", "mAP", "points lost", "least cosine", "evidence"]
    return list(_markdown(titles, rows))


def systems(runs: Path) -> list[str] | None:
    rows = []
    for name, (system, data, metric) in SYSTEMS.items():
        if (bundle := _bundle(runs / name)) is None:
            continue
        entry = next(entry for entry in bundle["artifacts"] if entry["format"] == "tflite")
        embedding = bundle["embedding"]
        rows.append(
            [
                system,
                data,
                f"{embedding['dim']:,} {'bits' if embedding['kind'] == 'binary' else 'values'}",
                _megabytes(entry["bytes"]),
                f"{entry['latency_ms']['median']:.2f} ms",
                metric,
                _percent(bundle["source"][metric]),
                _percent(entry["retrieval"][metric]),
            ]
        )
    titles = ["system", "data", "embedding", "`.tflite`", "latency", "metric", "PyTorch", "`.tflite`"]
    return list(_markdown(titles, rows)) if rows else None


RESULTS = "docs/results.md"
TABLES: dict[str, tuple[str, Callable[[Path], list[str] | None]]] = {
    "quickstart": ("README.md", quickstart),
    "mnist": (RESULTS, mnist),
    "others": (RESULTS, others),
    "smaller": (RESULTS, smaller),
    "systems": (RESULTS, systems),
}
_MEASURED = ["epochs", "accuracy", "mAP", "mAP@5", "mPC@5", "parameters", "`.pt`", "`.tflite`: mAP"]


def _measured(folder: Path, bundle: dict[str, Any]) -> list[str]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    epochs = [line for line in lines if line["stage"] == "train"]
    artifacts = {Path(entry["path"]).suffix: entry for entry in bundle["artifacts"]}
    return [
        str(len(epochs)),
        _percent(max(epoch["validation_accuracy"] for epoch in epochs)),
        *(_percent(bundle["source"].get(metric)) for metric in ("mAP", "mAP@5", "mPC@5")),
        f"{bundle['architecture']['params'] / 1e6:.2f} M",
        _megabytes(artifacts[".pt"]["bytes"]),
        _percent(artifacts[".tflite"]["retrieval"]["mAP"]),
    ]


def _bundle(folder: Path) -> dict[str, Any] | None:
    path = folder / "bundle.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _executions(bundle: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each artifact as each of its runtimes found it."""
    for file in bundle["artifacts"]:
        own = {key: value for key, value in file.items() if key != "other_runtimes"}
        yield own
        yield from ({**own, **other} for other in file["other_runtimes"])


def _verdict(gates: Sequence[dict[str, Any]]) -> str:
    failed = sum(not gate["passed"] for gate in gates)
    return f"{failed} FAILED" if failed else f"{len(gates)} passed"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
