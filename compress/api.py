"""The Python interface: ``from compress import load_recipe, run, Bundle``. The command line does the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from compress import plugins
from compress.bundle.manifest import ArtifactEntry, Manifest, read_manifest
from compress.commands.search import Answer, query
from compress.commands.verify import Verification
from compress.commands.verify import verify as verify_bundle
from compress.contracts import BadInput
from compress.recipe import reader
from compress.recipe.reader import Recipe
from compress.recipe.shipped import recipe_path

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Answer", "Bundle", "Recipe", "Verification", "load_recipe", "run"]


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        recipe: a YAML file, or the name of a recipe that comes with the package.
        overrides: as given to ``--set``: ``train.epochs=5``.

    Raises:
        BadInput: one line that names the file and every wrong key, its value and the remedy.
        MissingTool: a named component needs a library that is not installed.
    """
    return reader.load_recipe(recipe_path(Path(recipe)), overrides)


def run(
    recipe: Recipe | str | Path, out: str | Path | None = None, *, until: str | None = None, fresh: bool = False
) -> Bundle | None:
    """Run every step of a recipe; finished steps are reused.

    Args:
        recipe: a recipe, or what ``load_recipe`` takes.
        out: the bundle's folder; ``runs/<recipe name>`` by default.
        until: stop after this step of ``recipe.steps``.
        fresh: rerun finished steps.

    Returns:
        The bundle, whose gates may have failed (``Bundle.problems``); None if ``until`` stopped earlier.

    Raises:
        BadInput, MissingTool, CompressError: as the command line reports them, in one line.
    """
    from compress import pipeline

    checked = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if until is not None and until not in checked.steps:
        raise BadInput(f"until: '{until}' is not a step of {checked.name} ({', '.join(checked.steps)})")
    folder = Path("runs") / checked.name if out is None else Path(out)
    manifest = pipeline.run(checked, folder, until=until, fresh=fresh)
    return None if manifest is None else Bundle(folder, manifest)


@dataclass(frozen=True)
class Bundle:
    """A finished run's folder: exported files, what was measured of each, and a gallery.

    Attributes:
        folder: where it is.
        manifest: everything in bundle.json, typed.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read a bundle's ``bundle.json``; nothing is executed.

        Raises:
            BadInput: there is none, or it is damaged.
        """
        return cls(Path(path), read_manifest(Path(path)))

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def artifacts(self) -> tuple[ArtifactEntry, ...]:
        """The exported files, each with what was measured of it."""
        return self.manifest.artifacts

    @property
    def problems(self) -> tuple[str, ...]:
        """One line per gate that failed when the bundle was made; empty if it may ship."""
        return tuple(self.manifest.failures)

    def search(
        self,
        image: str | Path | Image.Image | np.ndarray,
        *,
        top: int = 10,
        artifact: str | None = None,
        runtime: str | None = None,
        exact: bool = False,
        gallery: str | Path | None = None,
    ) -> Answer:
        """Find the ``top`` gallery images nearest to a photograph, with one artifact on its own runtime.

        Args:
            image: a file, a Pillow image, or pixels uint8 [H, W, 3] of any size.
            artifact: file name, e.g. ``quickstart.fp32.onnx``; by default the first one that runs here.
            runtime: by default the artifact's best one installed here.
            exact: compare with every image even if the bundle has an index.
            gallery: a file that ``compress index`` made; by default the bundle's own gallery.

        Raises:
            BadInput: no readable image, or no such artifact, runtime or gallery.
            MissingTool: no runtime that could embed the image is installed here.
            ArtifactError: the artifact did not run.
        """
        _trust(runtime)
        return query(
            self.folder,
            _photograph(image),
            top=top,
            artifact=artifact,
            runtime=runtime,
            exact=exact,
            gallery=None if gallery is None else Path(gallery),
        )

    def verify(
        self, runtime: str | None = None, *, require: Sequence[str] = (), key: str | Path | None = None
    ) -> Verification:
        """Check every file again, and every artifact on the runtimes installed here; see ``Verification.problems``.

        Args:
            runtime: execute on this runtime only.
            require: formats, such as ``tflite``, of which at least one artifact must be executed.
            key: public key of the signature that the bundle must have.

        Raises:
            BadInput: there is no such runtime, format or key.
            MissingTool: no artifact could be executed here.
        """
        _trust(runtime)
        return verify_bundle(self.folder, runtime, require=require, key=None if key is None else Path(key))


def _trust(runtime: str | None) -> None:
    if runtime is not None:
        plugins.trust(runtime)


def _photograph(image: str | Path | Image.Image | np.ndarray) -> Path | Image.Image:
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, Image.Image):
        return image
    if image.ndim != 3 or image.shape[2] != 3 or str(image.dtype) != "uint8":
        raise BadInput(f"image: pixels must be uint8 [H, W, 3], RGB, not {image.dtype} {list(image.shape)}")
    return Image.fromarray(image)
