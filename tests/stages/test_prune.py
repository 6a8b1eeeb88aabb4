"""The stage keeps its targets, reloads anywhere, survives a kill and refuses what cannot be done."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures import complexity
from architectures.alnet import ALNet
from architectures.layers.blocks import ChannelPermutation
from compress import plugins
from compress.contracts import Architecture, BadInput, Data, EmbeddingSpec, ImageSet, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.model.checkpoint import load_model, save_model
from compress.model.identity import model_sha256
from compress.model.reference import embed
from compress.pruning.measures import measure
from compress.recipe.reader import parse_recipe
from compress.stages._schedules import learning_rate
from compress.stages.finetune import Finetune
from compress.stages.prune import Prune, prune_model
from compress.stages.train import Train
from exporters import export_model
from tests._command import compress_here
from tests._stages import with_options
from validators import run_artifact

SMALL = ALNet(stem_stride=2, widths=(32, 64), strides=(2, 1), expansions=(2, 6), head_width=64)


@pytest.fixture(scope="module")
def data() -> Data:
    """300 digits to train on, 100 to validate."""
    whole = load_data(Digits(), seed=0)

    def few(images: ImageSet, step: int) -> ImageSet:
        chosen = np.arange(0, len(images), step)
        return ImageSet(images.images[chosen], images.labels[chosen], tuple(images.ids[i] for i in chosen))

    validation = few(whole.validation, max(1, len(whole.validation) // 100))
    return replace(whole, train=few(whole.train, len(whole.train) // 300), validation=validation)


def fresh(data: Data, architecture: Architecture = SMALL) -> Model:
    torch.manual_seed(0)
    network: Any = architecture.build(len(data.classes))
    spec = EmbeddingSpec(network.embedding_dim)
    return Model(architecture, network, data.classes, data.preprocess, spec)


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Model:
    stage = train(epochs=4, batch_size=20)
    return stage.run(fresh(data), data, seed=0, scratch=tmp_path_factory.mktemp("train"))


def train(**options: Any) -> Train:
    return with_options(
        Train, **{"epochs": 2, "batch_size": 50, "schedule": "one_cycle", "loss": CrossEntropy(), **options}
    )


def finetune(**options: Any) -> Finetune:
    return with_options(
        Finetune, **{"epochs": 2, "batch_size": 50, "schedule": "one_cycle", "loss": CrossEntropy(), **options}
    )


def images(data: Data, count: int = 20) -> np.ndarray:
    return np.array(data.queries.images[np.arange(count)])


# ---------------------------------------------------------------------------------------------------- reloading


NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("alnet", {}),
    ("alnet", {"cbam": False}),
    ("shufflenet_v1", {}),
    ("shufflenet_v2", {"width": 0.5}),
    ("mobilenet_v1", {"width": 0.25}),
    ("mobilenet_v2", {}),
    ("mobilenet_v3", {}),
    ("efficientnet_b0", {}),
]

RELOAD = """
import sys
from pathlib import Path
import numpy as np
from compress.model.checkpoint import load_model
from compress.model.reference import embed
folder = Path(sys.argv[1])
for file in folder.glob("*.safetensors"):
    np.save(file.with_suffix(".npy"), embed(load_model(file), np.load(folder / "images.npy")))
"""


def settled(model: Model, pixels: np.ndarray) -> Model:
    """Batch normalisation fitted to these images, without which a fresh network answers the same to all."""
    for module in model.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.network.train()(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
    model.network.eval()
    return model


@pytest.mark.nightly
def test_pruned_networks_reload_in_a_fresh_process(data: Data, tmp_path: Path) -> None:
    pixels, expected = images(data, 4), {}
    np.save(tmp_path / "images.npy", pixels)
    for number, (name, options) in enumerate(NETWORKS):
        architecture = plugins.find(Architecture, name)(**options)
        assert isinstance(architecture, Architecture)
        model = settled(fresh(data, architecture), images(data))
        sizes = [measure(model.network, data.preprocess.size)["params"]]
        ratios = (0.3, 0.5, 0.7) if name in ("alnet", "shufflenet_v1") else (0.6,)
        for ratio in ratios:
            embedding = name == "shufflenet_v1"  # where it stays, so do all channels but the bottlenecks'
            stage = Prune(ratio=ratio, scope="layer", multiple_of=1, prune_embedding=embedding)
            pruned = stage.run(model, data, seed=0, scratch=tmp_path)
            if ratio == ratios[-1]:
                assert stage.check(model).pruned == pruned.pruned
            save_model(pruned, tmp_path / f"{number}-{ratio}.safetensors")
            found = expected[f"{number}-{ratio}"] = embed(pruned, pixels)
            assert found.shape[1] == pruned.embedding.dim
            assert np.ptp(found, axis=0).max() > 2e-5, name  # images differ by far more than 1e-6
            sizes.append(measure(pruned.network, data.preprocess.size)["params"])
        assert sizes == sorted(set(sizes), reverse=True), name
    subprocess.run([sys.executable, "-c", RELOAD, tmp_path], check=True)
    for file, embeddings in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{file}.npy"), embeddings, rtol=0, atol=1e-6)
    assert len(expected) == 3 * 3 + 5


def test_a_checkpoint_of_another_architecture_is_refused(data: Data, tmp_path: Path) -> None:
    pruned = Prune(ratio=0.5).run(fresh(data), data, seed=0, scratch=tmp_path)
    save_model(replace(pruned, architecture=replace(SMALL, cbam=False)), tmp_path / "wrong.safetensors")
    with pytest.raises(BadInput, match=r"^pruned layer 'blocks\..*' .* does not fit ALNet; .* another architecture"):
        load_model(tmp_path / "wrong.safetensors")


def test_the_hash_of_a_model_knows_its_shapes(data: Data, tmp_path: Path) -> None:
    pruned = Prune(ratio=0.5).run(fresh(data), data, seed=0, scratch=tmp_path)
    assert model_sha256(pruned) != model_sha256(replace(pruned, pruned={}))


@pytest.mark.nightly
def test_a_pruned_network_exports_as_what_it_is(trained: Model, data: Data, tmp_path: Path) -> None:
    pruned = Prune(ratio=0.5, multiple_of=1).run(trained, data, seed=0, scratch=tmp_path)
    assert any(isinstance(module, ChannelPermutation) for module in pruned.network.modules())
    expected = embed(pruned, images(data))
    for suffix in (".pt", ".onnx"):
        size, look = data.preprocess.size, data.preprocess
        path = export_model(pruned.network, tmp_path / f"p{suffix}", input_size=size, mean=look.mean, std=look.std)
        np.testing.assert_allclose(run_artifact(path, images(data)), expected, rtol=0, atol=1e-5)
    assert np.abs(expected - embed(trained, images(data))).max() > 0.01


# ------------------------------------------------------------------------------------------------------ targets


@pytest.mark.every_change("bytes-0.5-global")
@pytest.mark.parametrize(("limit", "scope"), [(0.5, "global"), (0.3, "layer")])
@pytest.mark.parametrize("what", ["params", "macs", "bytes"])
def test_a_size_is_met_and_not_by_far(
    what: str, limit: float, scope: Any, trained: Model, data: Data, tmp_path: Path
) -> None:
    size = data.preprocess.size
    before = measure(trained.network, size)[what]
    stage = Prune(**{what: limit, "scope": scope, "multiple_of": 1})
    after = measure(stage.run(trained, data, seed=0, scratch=tmp_path).network, size)[what]
    assert 0.85 * limit * before < after <= limit * before
    absolute = Prune(**{what: float(after), "scope": scope, "multiple_of": 1})
    assert measure(absolute.check(trained).network, size)[what] == after


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_ratio_counts_channels(scope: Any, trained: Model, data: Data) -> None:
    found = Prune(ratio=0.5, multiple_of=1, scope=scope).check(trained)
    widths = {name: values["out_channels"] for name, values in found.pruned.items() if "out_channels" in values}
    stem, hidden, heads = 32, 64 + 192, 32 + 64
    total = stem + hidden + heads + sum((2, 2, 4))  # the MLPs' hidden units; the embedding and its attention stay
    shrunk = (1 - 0.5) * total
    prunable = ("stem.0.0", "blocks.0.0.0", "blocks.1.0.0", "blocks.0.3.0", "blocks.1.3.0")
    network: Any = found.network
    left = sum(network.get_submodule(name).out_channels for name in prunable)
    hidden_units = [m.mlp[0].out_channels for m in network.modules() if hasattr(m, "mlp")][:3]
    assert shrunk <= left + sum(hidden_units) <= shrunk + 16
    if scope == "layer":
        assert (widths["stem.0.0"], widths["blocks.1.0.0"]) == (16, 96)


def test_multiples_and_overrides_of_single_layers(trained: Model) -> None:
    pruned = Prune(ratio=0.4, multiple_of=16).check(trained)
    for name, layer in pruned.network.named_modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.out_channels >= 16:
            assert layer.out_channels % 16 == 0, name
    own = Prune(per_layer={"blocks.1.2.0": 0.75}).check(trained)
    assert own.pruned["blocks.1.0.0"]["out_channels"] == 48
    assert {name.rpartition(".")[0].split(".")[0] for name in own.pruned} == {"blocks"}
    assert trained.pruned == {}


def test_the_same_model_gives_the_same_pruned_model(trained: Model, data: Data, tmp_path: Path) -> None:
    first, second = (Prune(macs=0.5).run(trained, data, seed=0, scratch=tmp_path) for _ in range(2))
    assert model_sha256(first) == model_sha256(second)
    assert first.history == second.history
    other = Prune(macs=0.5, importance="fpgm").run(trained, data, seed=0, scratch=tmp_path)
    assert model_sha256(first) != model_sha256(other)


@pytest.mark.parametrize("importance", ["l1", "bn_scale", "fpgm", "taylor"])
def test_every_criterion_prunes(importance: Any, trained: Model, data: Data, tmp_path: Path) -> None:
    stage = Prune(macs=0.6, importance=importance, taylor_images=60)
    pruned = stage.run(trained, data, seed=0, scratch=tmp_path)
    assert pruned.history[-1]["macs"] <= 0.6 * pruned.history[-1]["macs_before"]
    assert all(p.grad is None for p in pruned.network.parameters())


def test_classifier_and_embedding_shrink_together(trained: Model) -> None:
    pruned: Any = Prune(ratio=0.5, scope="layer", prune_embedding=True).check(trained)
    assert pruned.embedding.dim == pruned.network.embedding_dim == pruned.network.classifier.in_features == 32
    assert pruned.pruned[""] == {"embedding_dim": 32}


# ----------------------------------------------------------------------------------------- steps, training, kills


@pytest.mark.nightly
def test_steps_approach_the_target_and_training_brings_accuracy_back(
    trained: Model, data: Data, tmp_path: Path
) -> None:
    stage = Prune(macs=0.4, steps=3, multiple_of=1, finetune=finetune())
    pruned = stage.run(trained, data, seed=0, scratch=tmp_path)
    lines = pruned.history[len(trained.history) :]
    sizes = [line["macs"] for line in lines if "macs" in line]
    start = complexity(trained.network, data.preprocess.size).macs
    shares = [size / start for size in sizes]
    assert shares == sorted(shares, reverse=True)
    assert shares == pytest.approx([0.8, 0.6, 0.4], abs=0.06)
    assert shares[-1] <= 0.4
    assert [(line["step"], line.get("epoch")) for line in lines] == [
        (step, epoch) for step in (1, 2, 3) for epoch in (None, 1, 2)
    ]
    cut = Prune(macs=0.4, multiple_of=1).run(trained, data, seed=0, scratch=tmp_path)
    assert accuracy(pruned, data) > accuracy(cut, data)


def accuracy(model: Model, data: Data) -> float:
    embeddings = torch.from_numpy(embed(model, data.validation.images))
    classifier: Any = model.network.classifier
    return float((classifier(embeddings).argmax(1).numpy() == data.validation.labels).mean())


def test_ratio_steps_end_where_one_step_does(trained: Model, data: Data, tmp_path: Path) -> None:
    options: dict[str, Any] = {"ratio": 0.6, "scope": "layer", "multiple_of": 1, "per_layer": {"blocks.1.0.0": 0.5}}
    once = Prune(**options).run(trained, data, seed=0, scratch=tmp_path)
    thrice = Prune(**options, steps=3).run(trained, data, seed=0, scratch=tmp_path)
    assert once.pruned == thrice.pruned


@pytest.mark.nightly
def test_killed_in_the_second_step_it_ends_with_the_same_weights(
    trained: Model, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Prune(ratio=0.4, steps=2, finetune=finetune(random_crop=1), importance="taylor", taylor_images=50)
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = stage.run(trained, data, seed=1, scratch=tmp_path / "whole")
    done = 0

    def killed(*arguments: Any, **keywords: Any) -> float:
        nonlocal done
        done += 1
        if done > 2 * 6 + 9:  # 6 steps an epoch: in the second step's second epoch
            raise KeyboardInterrupt
        return learning_rate(*arguments, **keywords)

    monkeypatch.setattr("compress.stages._fit.learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        stage.run(trained, data, seed=1, scratch=tmp_path / "parts")
    assert (tmp_path / "parts/step-2/state.pt").is_file()
    done = 2 * 6 - 2  # the first step and one epoch of the second are not trained again
    resumed = stage.run(trained, data, seed=1, scratch=tmp_path / "parts")
    assert model_sha256(resumed) == model_sha256(whole)
    assert resumed.history == whole.history


def test_sparsity_is_the_subgradient_of_the_sum_of_scales(data: Data, tmp_path: Path) -> None:
    """One plain step: beside what the loss asks for, every scale, at first 1, falls by lr x bn_sparsity."""
    one_batch = replace(data, train=ImageSet(data.train.images[:50], data.train.labels[:50], data.train.ids[:50]))

    def scales(folder: str, sparsity: float) -> torch.Tensor:
        (tmp_path / folder).mkdir()
        plain = train(epochs=1, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant", bn_sparsity=sparsity)
        network = plain.run(fresh(data), one_batch, seed=0, scratch=tmp_path / folder).network
        return torch.cat([m.weight.detach() for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)])

    fall = scales("without", 0.0) - scales("with", 0.5)
    torch.testing.assert_close(fall, torch.full_like(fall, 0.05), atol=1e-5, rtol=0)


def test_sensitivity_is_measured_layer_by_layer(trained: Model, data: Data, tmp_path: Path) -> None:
    stage = Prune(ratio=0.3, sensitivity=(0.25, 0.75), sensitivity_images=50)
    pruned = stage.run(trained, data, seed=0, scratch=tmp_path)
    lines = [line for line in pruned.history if "sensitivity" in line]
    layers = {line["sensitivity"] for line in lines}
    assert {"stem.0.0", "blocks.0.0.0", "blocks.1.0.0", "blocks.0.3.0", "blocks.1.3.0"} <= layers
    assert len(lines) == 2 * len(layers)
    for name in layers:
        mild, harsh = (line for line in lines if line["sensitivity"] == name)
        assert harsh["mean_cosine"] <= mild["mean_cosine"] + 1e-6 <= 1 + 2e-6
        assert mild["removed"] <= 0.25 * mild["channels"]
    assert min(line["mean_cosine"] for line in lines) < 0.999
    assert len({line["accuracy_before"] for line in lines}) == 1


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ratio": 0.99},
            r"^ratio: 0\.99 would leave a layer or one of its groups without channels; at most 0\.\d+ of",
        ),
        ({"macs": 0.01}, r"^macs: 0\.01 asks for at most [\d,]+ of [\d,]+, but ([\d,]+) \(0\.\d+\) is the least"),
        ({"params": 100.0}, r"^params: 100\.0 asks for at most 100 of"),
        ({"bytes": 5000.0}, r"^bytes: 5000\.0 asks for"),
        ({"per_layer": {"blocks.1.0.O": 0.5}}, r"^per_layer: 'blocks\.1\.0\.O' .* did you mean 'blocks\.1\.0\.0'"),
        ({"per_layer": {"blocks.1.0.0": 0.97}}, r"^per_layer: 0\.97 of the 192 .* at most 0\.958 can be removed"),
        ({"per_layer": {"blocks.1.0.0": 0.5, "blocks.1.2.0": 0.5}}, r"^per_layer: .* removed together .* name one"),
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any], message: str, data: Data) -> None:
    with pytest.raises(BadInput, match=message):
        Prune(**options).check(fresh(data))


def test_the_least_it_names_can_be_had(data: Data) -> None:
    with pytest.raises(BadInput) as refused:
        Prune(macs=0.001).check(fresh(data))
    least = int(str(refused.value).partition("but ")[2].split()[0].replace(",", ""))
    reached = Prune(macs=float(least)).check(fresh(data))
    assert complexity(reached.network, data.preprocess.size).macs == least


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.5, "macs": 0.5}, "ratio and macs: give one"),
        ({}, "ratio: missing"),
        ({"ratio": 1.0}, "prune.ratio: 1.0 is wrong, input should be less than 1"),
        ({"ratio": 0.5, "importance": "L2"}, "prune.importance: 'L2' is wrong"),
        ({"ratio": 0.5, "finetune": {"epoch": 3}}, "finetune.epoch: unknown key; did you mean 'epochs'?"),
        ({"ratio": 0.5, "per_layer": {"stem.0.0": 2}}, "prune.per_layer.stem.0.0: 2 is wrong"),
        ({"ratios": 0.5}, "prune.ratios: unknown key; did you mean 'ratio'?"),
    ],
)
def test_a_recipe_is_told_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_recipe(document({"prune": options}), "r.yaml")
    assert message in str(refused.value)


def document(*stages: dict[str, Any]) -> dict[str, Any]:
    model = {"architecture": "alnet", "stem_stride": 2}
    return {"name": "r", "data": {"dataset": "digits"}, "model": model, "train": {}, "compress": list(stages)}


def test_a_resolved_recipe_reads_as_the_same_recipe() -> None:
    recipe = parse_recipe(document({"prune": {"ratio": 0.5, "finetune": {"epochs": 3}, "per_layer": {"a": 0.1}}}), "r")
    again = parse_recipe(recipe.resolved, "again")
    assert again == recipe
    (stage,) = [stage for _, stage in again.stages if isinstance(stage, Prune)]
    assert stage.finetune is not None and (stage.finetune.training.epochs, stage.finetune.training.lr) == (3, 0.05)
    assert parse_recipe(document({"prune": {"ratio": 0.5}}), "r").resolved["compress"][0]["prune"]["finetune"] is None


def test_a_dry_run_finds_a_target_out_of_reach(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(str(document({"prune": {"ratio": 0.5}}, {"prune": {"macs": 0.01}})).replace("'", '"'))
    done = compress_here("run", recipe, "--dry-run", "--out", tmp_path / "out")
    assert done.code == 2
    assert done.complaint.startswith("2-prune: macs: 0.01 asks for at most")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.0}, r"^ratio: 1\.0"),
        ({"ratio": -0.1}, r"^ratio: -0\.1"),
        ({"ratio": 0.3, "importance": "bn"}, r"^importance: 'bn' is not one of l1, l2, bn_scale, fpgm, taylor"),
        ({"ratio": 0.3, "scope": "all"}, r"^scope: 'all'"),
        ({"ratio": 0.3, "multiple_of": 0}, r"^multiple_of: 0"),
    ],
)
def test_prune_model_refuses_in_one_line(arguments: dict[str, Any], message: str, data: Data) -> None:
    with pytest.raises(BadInput, match=message):
        prune_model(fresh(data).network, torch.zeros(1, 3, 28, 28), **arguments)


def test_prune_model_leaves_the_original_alone(trained: Model, data: Data) -> None:
    before = model_sha256(trained)
    small: Any = prune_model(trained.network, torch.zeros(1, 3, *data.preprocess.size), 0.5)
    with torch.no_grad():
        for values in small.state_dict().values():
            values.zero_()
    assert model_sha256(trained) == before
    assert small.embedding_dim == trained.embedding.dim
