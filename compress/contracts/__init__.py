"""The values and base classes that are shared between folders.

These files import no project code and no heavy library, so that ``compress --help``, a recipe check and the
child process of an old runtime can all load it; ``networks`` alone needs PyTorch, and is not loaded with the others.
Array shapes use N images, H height, W width, D embedding dimensions, Q queries, G gallery images, P probe images.
"""

from compress.contracts.artifacts import Artifact, Candidates, DeployGraph, Exporter, LearnedRange, Optimize, Timer
from compress.contracts.checks import Check, HeldOut, Latency, Observation
from compress.contracts.components import Component, component_field, flat_field, only_field
from compress.contracts.data import (
    ChannelMean,
    ChannelStd,
    Data,
    Dataset,
    Division,
    GroundTruth,
    ImageArray,
    ImageSet,
    ImageSize,
    Preprocess,
    PublishedImage,
    Samples,
    Splits,
    TestShare,
)
from compress.contracts.errors import BadInput, CompressError, MissingTool
from compress.contracts.gallery import GalleryOptions
from compress.contracts.indexes import Index, OpenIndex
from compress.contracts.models import (
    LOCAL_DIM,
    Architecture,
    Distance,
    EmbeddingKind,
    EmbeddingSpec,
    Latencies,
    Loss,
    MeasuredStage,
    Model,
    Normalisation,
    Objective,
    Outputs,
    SharingStage,
    Stage,
)
from compress.contracts.runtimes import (
    TIMED,
    Embedder,
    Evidence,
    OperatorTime,
    Processor,
    Runtime,
    host_processor,
)

__all__ = [
    "LOCAL_DIM",
    "TIMED",
    "Architecture",
    "Artifact",
    "BadInput",
    "Candidates",
    "ChannelMean",
    "ChannelStd",
    "Check",
    "Component",
    "CompressError",
    "Data",
    "Dataset",
    "DeployGraph",
    "Distance",
    "Division",
    "Embedder",
    "EmbeddingKind",
    "EmbeddingSpec",
    "Evidence",
    "Exporter",
    "GalleryOptions",
    "GroundTruth",
    "HeldOut",
    "ImageArray",
    "ImageSet",
    "ImageSize",
    "Index",
    "Latencies",
    "Latency",
    "LearnedRange",
    "Loss",
    "MeasuredStage",
    "MissingTool",
    "Model",
    "Normalisation",
    "Objective",
    "Observation",
    "OpenIndex",
    "OperatorTime",
    "Optimize",
    "Outputs",
    "Preprocess",
    "Processor",
    "PublishedImage",
    "Runtime",
    "Samples",
    "SharingStage",
    "Splits",
    "Stage",
    "TestShare",
    "Timer",
    "component_field",
    "flat_field",
    "host_processor",
    "only_field",
]
