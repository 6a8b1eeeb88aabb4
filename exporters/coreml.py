"""Core ML ML Program (.mlpackage), for iOS 16 and later; made on Linux or macOS, runs on Apple devices."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from compress.contracts import DeployGraph, Exporter


@dataclass(frozen=True, kw_only=True)
class CoreML(Exporter):
    """Input ``image``, an RGB image; output ``embedding`` float32 [1, D].

    The image arrives as 0-255 without Core ML's own scale and bias: normalisation is in the graph, as in every format
    (ImageType has one scale for three channels, which is no exact normalisation).

    Attributes:
        precision: of weights and computation; the output is float32 in both.
        minimum_ios: the oldest iOS that must load the file. 16 brings compressed weights for all later precisions.
    """

    format: ClassVar[str] = "coreml"
    suffix: ClassVar[str] = ".mlpackage"
    requires: ClassVar[tuple[str, ...]] = ("coremltools",)

    precision: Literal["fp32", "fp16"] = "fp32"
    minimum_ios: Literal[15, 16, 17, 18] = 16

    def write(self, graph: DeployGraph, path: Path) -> None:
        from exporters._quiet import quiet
        from exporters._write import unfinished

        with quiet():
            model = self._converted(graph)
        model.short_description = f"{graph.metadata['name']}: image to embedding"
        model.author = "compress-retrieval"
        model.license = str(graph.metadata["license"])
        model.version = str(graph.metadata["version"])
        model.input_description["image"] = str(graph.metadata["input"])
        model.output_description["embedding"] = str(graph.metadata["output"])
        model.user_defined_metadata.clear()  # coremltools writes a time stamp and the source dialect
        model.user_defined_metadata.update({key: str(value) for key, value in sorted(graph.metadata.items())})
        with unfinished(path) as folder, quiet():
            model.save(str(folder))
            _rewrite_spec(folder)
            _rewrite_identifiers(folder)

    def _converted(self, graph: DeployGraph) -> Any:
        import coremltools as ct
        import numpy as np
        import torch

        height, width = graph.input_size
        # From torch.jit.trace the conversion fails next to numpy 2.4 (coremltools#2633).
        program = torch.export.export(graph.module, (torch.zeros(1, 3, height, width),)).run_decompositions({})
        target = {15: ct.target.iOS15, 16: ct.target.iOS16, 17: ct.target.iOS17, 18: ct.target.iOS18}
        return ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.ImageType(name="image", shape=(1, 3, height, width), color_layout=ct.colorlayout.RGB)],
            # Without a type the output becomes float16 from iOS 16 on.
            outputs=[ct.TensorType(name="embedding", dtype=np.float32)],
            compute_precision=ct.precision.FLOAT32 if self.precision == "fp32" else ct.precision.FLOAT16,
            minimum_deployment_target=target[self.minimum_ios],
            skip_model_load=True,
        )


def _rewrite_spec(folder: Path) -> None:
    """Serialise the specification in canonical order: protobuf maps come in the order of a hash."""
    import coremltools as ct

    file = next(folder.rglob("*.mlmodel"))
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString(file.read_bytes())
    file.write_bytes(spec.SerializeToString(deterministic=True))


def _rewrite_identifiers(folder: Path) -> None:
    """Name the items of the package after their paths instead of by random UUIDs."""
    manifest_file = folder / "Manifest.json"
    manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    renamed = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])).upper() for old, item in manifest["itemInfoEntries"].items()}
    manifest["itemInfoEntries"] = {renamed[old]: item for old, item in manifest["itemInfoEntries"].items()}
    manifest["rootModelIdentifier"] = renamed[manifest["rootModelIdentifier"]]
    manifest_file.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")
