"""Core ML ML Program (.mlpackage), for iOS 16 and later; made on Linux or macOS, runs on Apple devices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from compress.contracts import BadInput, DeployGraph, Model
from exporters._costs import COREML
from exporters._file_exporter import Inspected
from exporters._float_weights import FloatLayers, FloatWeights
from exporters._stored import Kind

SPARED = 2048
"""Weights of at most this many values stay in half precision: coremltools' default; for fewer, a table is larger."""

_FIRST_IOS = {"float32": 15, "float16": 15, "int4": 18}
"""The first iOS that loads weights of a type; iOS 16 loads the others."""


@dataclass(frozen=True, kw_only=True)
class CoreML(FloatWeights):
    """Exports with input ``image``, an RGB image, and output ``embedding`` float32 [1, D].

    The graph gets values 0-255 without Core ML's own scale and bias, and normalises them, as in every format
    (ImageType has one scale for three channels, so it cannot normalise exactly).

    Attributes:
        precision: ``fp32`` and ``fp16`` store weights and compute in that type. The others compute in half precision
            and store weights as int8 with one scale per channel (``w8``), as indices into a palette of 256, 64 or 16
            values (``p8``, ``p6``, ``p4``), or as int4 with one scale for at most 32 input channels (``w4``). The
            output is always float32.
        minimum_ios: the oldest iOS that must load the file. None uses the oldest that supports the precision: 18 for
            ``w4``, otherwise 16, which runs on nearly every iPhone in use.

    Raises:
        BadInput: the precision needs a newer iOS than ``minimum_ios``.
    """

    format: ClassVar[str] = "coreml"
    suffix: ClassVar[str] = ".mlpackage"
    requires: ClassVar[tuple[str, ...]] = ("torch", "coremltools")
    extras: ClassVar[tuple[str, ...]] = ("train", "coreml")
    runtime_costs = COREML
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
        "fp16": Kind("float16", "float16", "float16"),
        "w8": Kind("int8", "float16", "float16"),
        "p8": Kind("palette8", "float16", "float16"),
        "p6": Kind("palette6", "float16", "float16"),
        "p4": Kind("palette4", "float16", "float16"),
        "w4": Kind("int4", "float16", "float16"),
    }

    precision: Literal["fp32", "fp16", "w8", "p8", "p6", "p4", "w4"] = "fp32"
    minimum_ios: Literal[15, 16, 17, 18] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        first = self._first_ios()
        if self.minimum_ios is not None and self.minimum_ios < first:
            raise BadInput(
                f"minimum_ios: {self.minimum_ios}, but Core ML stores {self.precision} from iOS {first} on; "
                "raise it or choose another precision"
            )

    @property
    def ios(self) -> int:
        """The oldest iOS that loads the file."""
        return self.minimum_ios or max(16, self._first_ios())

    def _first_ios(self) -> int:
        return _FIRST_IOS.get(self.stored[self.precision].weights, 16)

    @property
    def spared(self) -> int:
        kind = self.stored[self.precision]
        return SPARED if kind.weights != kind.operand else 0

    def check(self, model: Model) -> None:
        layers = (p.numel() for name, p in model.network.named_parameters() if not name.startswith("classifier."))
        if self.stored[self.precision].weights.startswith("palette") and max(layers, default=0) <= SPARED:
            raise BadInput(
                f"precision: {self.precision} saves nothing, as no layer has more than {SPARED} weights; export fp16"
            )

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        from exporters._deploy import as_text
        from exporters._quiet import quiet

        layers = self.float_layers(graph)
        with quiet():
            model, exempt, names = self._converted(graph, layers)
        in_half = set[str]()
        if names:
            from exporters._coreml_stored import weighted

            in_half = {each.name for each in weighted(model.get_spec()) if each.kind.weights == "float16"}
        used = [layer for layer, name in names.items() if name in in_half]
        metadata = as_text({**graph.metadata, **layers.record(used)})
        model.short_description = f"{metadata['name']}: {metadata['input']} image to embedding"
        model.author = "compress-retrieval"
        model.license = metadata["license"]
        model.version = metadata["version"]
        model.input_description["image"] = f"{metadata['input']}; normalisation is inside"
        model.output_description["embedding"] = f"float32, {metadata['embedding_dim']} values"
        model.user_defined_metadata.clear()  # coremltools stores the date of the conversion
        model.user_defined_metadata.update(metadata)
        saved = path.with_name(f"saved.{path.name}")
        with quiet():
            from exporters._mlpackage import rewritten

            model.save(str(saved))
            rewritten(saved, path)
        return exempt

    def inspect(self, path: Path) -> Inspected:
        from validators.mlprogram.light_import import load_coremltools

        load_coremltools()
        from exporters._coreml_stored import stored

        return Inspected(stored(path), {"minimum_ios": self.ios, **self.quantization(path)})

    def _converted(self, graph: DeployGraph, layers: FloatLayers) -> tuple[Any, frozenset[str], dict[str, str]]:
        """Convert the graph.

        Returns:
            The model, the names of large weights that stay in half precision, and the names of the weights of
            ``layers`` by layer.
        """
        from validators.mlprogram.light_import import load_coremltools  # validators load NumPy

        load_coremltools()
        import coremltools as ct
        import numpy as np
        import torch

        height, width = graph.input_size
        # Conversion from torch.jit.trace fails with numpy 2.4 (coremltools#2633).
        program = torch.export.export(graph.module, (torch.zeros(1, 3, height, width),)).run_decompositions({})
        _remove_aliases(program)
        passes = ct.PassPipeline()
        # This pass turns a multiplication and an addition into a batch normalisation with epsilon 1e-5: not exact.
        passes.remove_passes({"common::fuse_elementwise_to_batchnorm"})
        exempt, names = frozenset[str](), dict[str, str]()
        if self.precision not in ("fp32", "fp16"):
            from exporters._coreml_compress import add_compression, half_names

            names = half_names(program, layers.weights)
            exempt = add_compression(passes, self.precision, program, SPARED, names.values())
        target = {15: ct.target.iOS15, 16: ct.target.iOS16, 17: ct.target.iOS17, 18: ct.target.iOS18}
        model = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.ImageType(name="image", shape=(1, 3, height, width), color_layout=ct.colorlayout.RGB)],
            # Without this type, the output would be float16 from iOS 16 on.
            outputs=[ct.TensorType(name="embedding", dtype=np.float32)],
            compute_precision=ct.precision.FLOAT32 if self.precision == "fp32" else ct.precision.FLOAT16,
            minimum_deployment_target=target[self.ios],
            pass_pipeline=passes,
            skip_model_load=True,
        )
        return model, exempt, names


def _remove_aliases(program: Any) -> None:
    """Remove ``aten.alias``, of which coremltools knows nothing: torch.export makes it of a slice of everything."""
    import torch

    for node in list(program.graph.nodes):
        # The program's signature names what the output takes, so that must stay.
        if node.target is torch.ops.aten.alias.default and all(user.op != "output" for user in node.users):
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    program.graph_module.recompile()
