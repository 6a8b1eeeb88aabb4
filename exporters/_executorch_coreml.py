"""Core ML as the delegate of an ExecuTorch file; runs in the environment of executorch, as ``_executorch_lower``.

executorch converts the model; the files around it are written here, so that the same network gives the same bytes:
without the date, a random name, the order of a directory and the debug information.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

CAST = "dim_order_ops._to_dim_order_copy.default"
"""The cast from uint8, which Core ML does not take; ExecuTorch computes it."""
_INEXACT = "common::fuse_elementwise_to_batchnorm"
"""The pass that turns a multiplication and an addition into a batch normalisation with epsilon 1e-5."""


def partitioner(precision: str) -> Any:
    """What gives the whole network but the cast to Core ML, which computes in ``fp32`` or ``fp16``."""
    import coremltools as ct
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    CoreMLBackend.preprocess_model = staticmethod(_preprocessed)
    specs = CoreMLBackend.generate_compile_specs(
        # From iOS 16 on, the output would be float16, which is not the type that ExecuTorch declares.
        minimum_deployment_target=ct.target.iOS15,
        compute_precision=ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16,
        pass_names=[name for name in ct.PassPipeline().passes if name != _INEXACT],
    )
    return CoreMLPartitioner(compile_specs=specs, skip_ops_for_coreml_delegation=[CAST])


def _preprocessed(model: Any, model_type: Any) -> Any:
    """As ``CoreMLBackend.preprocess_model``, for a model that is not compiled."""
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.exir.backend.backend_details import PreprocessResult

    from compress.system.files import artifact_sha256
    from exporters._mlpackage import rewritten
    from validators.pte_coreml import PACKAGE, packed

    assert model_type is CoreMLBackend.MODEL_TYPE.MODEL
    model.user_defined_metadata.clear()  # coremltools stores the date of the conversion
    with tempfile.TemporaryDirectory() as folder:
        saved, lowered = Path(folder, "saved.mlpackage"), Path(folder, "lowered_module")
        model.save(str(saved))
        rewritten(saved, lowered / PACKAGE)
        # Under this name the phone keeps what it compiled, so that two models must not share it.
        name = f"executorch_{artifact_sha256(lowered / PACKAGE)}"
        CoreMLBackend.save_model_metadata(CoreMLBackend.model_metadata_from_spec(model.get_spec(), name), lowered)
        return PreprocessResult(processed_bytes=packed(lowered))
