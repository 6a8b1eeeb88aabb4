"""A student alone against the same student distilled: ``python -m benchmarks.distillation RECIPE --epochs 5 …``.

RECIPE distils (``recipes/alnet_fashion_mnist_distilled.yaml``). For each seed its student is trained twice from the
same fresh weights, over the same images in the same order, for the same number of epochs: by ``train`` with the options
that the two stages share, and by ``distill``. The mAP is the full ranking's, over the held-out images. Without a
teacher at hand, ``--teacher-epochs`` trains one first, on the same images: ALNet with dense convolutions.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from architectures.alnet import ALNet
from compress.contracts import Data, ImageSet, Model, Stage
from compress.data.load import load_data
from compress.model.checkpoint import save_model
from compress.model.reference import embed
from compress.model.start import initial_model
from compress.recipe.reader import Recipe, load_recipe
from compress.stages.distill import Distill
from compress.stages.train import Train
from validators.metrics import evaluate_retrieval

TEACHER = ALNet(groups=1, channel_shuffle=False)


def few(images: ImageSet, count: int | None) -> ImageSet:
    """``count`` evenly spaced images; None: all."""
    if count is None or count >= len(images):
        return images
    chosen = np.arange(count) * len(images) // count
    return ImageSet(images.images[chosen], images.labels[chosen], tuple(images.ids[i] for i in chosen))


def shortened(data: Data, training: int | None, held_out: int | None) -> Data:
    queries = few(data.queries, held_out)
    gallery = queries if data.leave_one_out else few(data.gallery, held_out)
    return replace(data, train=few(data.train, training), queries=queries, gallery=gallery)


def trained(stage: Stage, model: Model, data: Data, seed: int) -> Model:
    with tempfile.TemporaryDirectory() as scratch:
        return stage.run(model, data, seed=seed, scratch=Path(scratch))


def mean_average_precision(model: Model, data: Data) -> float:
    asking = embed(model, data.queries.images)
    found = asking if data.leave_one_out else embed(model, data.gallery.images)
    scores = evaluate_retrieval(
        asking,
        found,
        data.queries.labels,
        data.gallery.labels,
        distance=model.embedding.distance,
        metrics=("mAP",),
        exclude_self=data.leave_one_out,
    )
    return scores["mAP"]


def alone(stage: Distill) -> Train:
    """The same training without a teacher."""
    return Train(training=stage.training)


def student(recipe: Recipe, data: Data, seed: int) -> Model:
    return initial_model(replace(recipe, seed=seed), data.classes, data.preprocess)


def with_teacher(stage: Distill, epochs: int, recipe: Recipe, data: Data, folder: Path) -> Distill:
    """``stage`` with a teacher trained here for so many epochs."""
    model = student(replace(recipe, architecture=TEACHER), data, seed=0)
    teacher = trained(Train(training=replace(stage.training, epochs=epochs)), model, data, seed=0)
    print(f"teacher: mAP {mean_average_precision(teacher, data):.4f}, {epochs} epochs", flush=True)
    save_model(teacher, folder / "teacher.safetensors")
    return replace(stage, teacher={"checkpoint": str(folder / "teacher.safetensors")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a value of the recipe: a.b=value")
    parser.add_argument("--epochs", type=int, help="of both; the recipe's otherwise")
    parser.add_argument("--images", type=int, help="training images; all otherwise")
    parser.add_argument("--held-out", type=int, help="images to search; all otherwise")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher-epochs", type=int, help="train a teacher so long; the recipe's teacher otherwise")
    chosen = parser.parse_args()

    recipe = load_recipe(chosen.recipe, chosen.overrides)
    stage = next(stage for _, stage in recipe.stages if isinstance(stage, Distill))
    stage = replace(stage, training=replace(stage.training, epochs=chosen.epochs or stage.training.epochs))
    data = shortened(load_data(recipe.data, recipe.seed, progress=True), chosen.images, chosen.held_out)
    print(
        f"{data.dataset}: {len(data.train):,} training images, {len(data.queries):,} queries, "
        f"{stage.training.epochs} epochs"
    )
    with tempfile.TemporaryDirectory() as folder:
        if chosen.teacher_epochs:
            stage = with_teacher(stage, chosen.teacher_epochs, recipe, data, Path(folder))
        print(f"{'seed':>4}  {'alone':>6}  {'distilled':>9}  {'gain':>7}", flush=True)
        gains = []
        for seed in range(chosen.seeds):
            scores = []
            for each in (alone(stage), stage):
                model = each.check(student(recipe, data, seed))
                scores.append(mean_average_precision(trained(each, model, data, seed), data))
            gains.append(scores[1] - scores[0])
            print(f"{seed:>4}  {scores[0]:>6.4f}  {scores[1]:>9.4f}  {gains[-1]:>+7.4f}", flush=True)
    print(f"mean gain {np.mean(gains):+.4f}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
