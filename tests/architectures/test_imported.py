"""Networks of the user's own: from a file or a package, with weights, of any output; nothing else runs code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from architectures import create_model
from compress import plugins
from compress.contracts import Architecture, BadInput, Loss, Preprocess
from compress.model.checkpoint import load_model, save_model
from compress.model.identity import model_sha256
from compress.model.start import initial_model
from compress.recipe.reader import load_recipe, parse_recipe
from compress.run.plan import plan
from tests._command import compress

NET = '''
from torch import nn

class Net(nn.Module):
    """Gives a feature map."""
    def __init__(self, width: int = 8, *, depth=1):
        super().__init__()
        layers = [nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return self.body(x)

class Classifier(Net):
    """Gives the logits of five classes."""
    def __init__(self, width: int = 8):
        super().__init__(width)
        self.fc = nn.Linear(width, 5)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))

class Two(Net):
    def forward(self, x):
        y = self.body(x)
        return {"map": y, "vector": y.mean((2, 3)), "scalar": y.mean()}

class Branches(Net):
    def forward(self, x):
        return self.body(x) if x.sum() > 0 else x

class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("no luck")

def factory(width: int = 4):
    return Net(width)

NUMBER = 3
'''
RECIPE = """
name: own
data: {{dataset: digits, image_size: 28}}
model: {{architecture: "./net.py:{network}"{options}}}
{train}
export: [onnx: {{}}]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_named", set())
    Path("net.py").write_text(NET, encoding="utf-8")


def recipe(network: str = "Net", options: str = "", train: str = "train: {epochs: 1}") -> Any:
    path = Path("own.yaml")
    path.write_text(RECIPE.format(network=network, options=options, train=train), encoding="utf-8")
    return load_recipe(path)


def test_a_feature_map_is_pooled_and_parameters_are_options() -> None:
    network = create_model("./net.py:Net", width=6, depth=2).eval()
    x = torch.randn(2, 3, 40, 40)
    assert network.embedding_dim == 6
    assert torch.allclose(network(x), network.network(x).mean((2, 3)))
    assert create_model("./net.py:factory", 3)(x).shape == (2, 3)
    assert create_model("torchvision.models:mobilenet_v3_small", leave_out=["classifier"]).embedding_dim == 576


def test_the_recipe_is_planned_and_reads_back_as_itself(tmp_path: Path) -> None:
    made = recipe(options=", width: 6")
    assert made.resolved["model"]["architecture"] == "./net.py:Net"
    assert made.resolved["model"]["width"] == 6
    assert any("6-d embedding" in line for line in plan(made))
    (tmp_path / "again.yaml").write_text(made.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml").resolved == made.resolved


def test_other_code_is_another_model_and_a_bundles_recipe_refuses_it(tmp_path: Path) -> None:
    made = recipe()
    model = initial_model(made, ("a", "b"), Preprocess((28, 28)))
    Path("net.py").write_text(NET + "\n# changed\n", encoding="utf-8")
    other = initial_model(recipe(), ("a", "b"), Preprocess((28, 28)))
    assert all(torch.equal(a, b) for a, b in zip(model.network.parameters(), other.network.parameters(), strict=True))
    assert model_sha256(model) != model_sha256(other)
    with pytest.raises(BadInput, match=r"code: net.py is not the source .* remove this option"):
        parse_recipe(made.resolved, "old.yaml")


def trained(width: int = 8) -> dict[str, torch.Tensor]:
    state = create_model("./net.py:Classifier", width=width).network.state_dict()
    random = {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in state.items()}
    return {name: t.abs() if name.endswith("running_var") else t for name, t in random.items()}


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("w.pth", lambda state: state),
        ("w.pt", lambda state: {"state_dict": {f"module.{name}": t for name, t in state.items()}, "epoch": 3}),
        ("w.safetensors", None),
    ],
)
def test_weights_are_read_from_every_usual_file(name: str, wrap: Callable[[Any], Any] | None) -> None:
    state = trained()
    torch.save(wrap(state), name) if wrap else save_file(state, name)
    network = create_model("./net.py:Classifier", weights=name, leave_out=["fc"])
    own = network.network.state_dict()
    assert "fc.weight" not in own and len(own) > 5
    assert all(torch.equal(tensor, state[key]) for key, tensor in own.items())
    assert network.embedding_dim == 8
    with pytest.raises(BadInput, match=r"weights: w.* 'body.0.weight' holds \[8, 3, 3, 3\], the network needs \[4, "):
        create_model("./net.py:Classifier", width=4, weights=name, leave_out=["fc"])


def test_with_weights_training_may_be_absent() -> None:
    torch.save(trained(), "w.pth")
    made = recipe("Classifier", ", weights: w.pth, leave_out: [fc]", train="")
    assert made.stages == () and any("8-d embedding" in line for line in plan(made))
    with pytest.raises(BadInput, match="weights: FILE"):
        recipe("Classifier", ", leave_out: [fc]", train="")


def test_weights_that_give_nan_are_named_before_a_converter_is_blamed() -> None:
    state = trained()
    state["body.1.running_var"].neg_()
    torch.save(state, "w.pth")
    made = recipe("Classifier", ", weights: w.pth, leave_out: [fc]", train="")
    with pytest.raises(BadInput, match=r"the network gives NaN or infinite embeddings, .*check its weights"):
        plan(made)


def test_a_pickle_with_code_is_refused() -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (Path("harmed"),))

    torch.save({"state_dict": Harm()}, "w.pth")
    with pytest.raises(BadInput, match="holds no state dict"):
        create_model("./net.py:Net", weights="w.pth")
    assert not Path("harmed").exists()


def test_several_outputs_are_named() -> None:
    with pytest.raises(BadInput, match=r"output: .*several outputs; name the embedding's: 'map', 'vector', 'scalar'"):
        create_model("./net.py:Two")
    x = torch.randn(2, 3, 40, 40)
    two = create_model("./net.py:Two", output="vector").eval()
    assert torch.equal(two(x), two.network(x)["vector"])
    with pytest.raises(BadInput, match="no output 'vektor'"):
        create_model("./net.py:Two", output="vektor")
    with pytest.raises(BadInput, match="one output; remove"):
        create_model("./net.py:Net", output=0)
    with pytest.raises(BadInput, match="neither one vector"):
        create_model("./net.py:Two", output="scalar")


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("./net.py:Nett", {}, "did you mean 'Net'"),
        ("./net.py:NUMBER", {}, "no class or function 'NUMBER'"),
        ("./none.py:Net", {}, "no such file"),
        ("net.py:Net", {}, "./file.py:Class"),
        ("no_such_package.nets:Net", {}, "no such module is installed"),
        ("./net.py:Broken", {}, "no luck"),
        ("./net.py:Branches", {}, "cannot be exported"),
        ("builtins:dict", {}, "no source file"),
        ("./net.py:Net", {"widht": 3}, "did you mean 'width'"),
        ("./net.py:Net", {"width": "3"}, "'3'"),
        ("./net.py:Net", {"leave_out": ["fc"]}, "no layer 'fc'"),
        ("./net.py:Net", {"weights": "none.pth"}, "no file at"),
    ],
)
def test_mistakes_are_named(network: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        create_model(network, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_chooses_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header may name code only if a recipe named the same."""
    path = tmp_path / "c.safetensors"
    save_model(initial_model(recipe(), ("a", "b"), Preprocess((28, 28))), path)
    assert load_model(path).embedding.dim == 8
    monkeypatch.setattr(plugins, "_named", set())
    Path("net.py").write_text("from pathlib import Path\nPath('harmed').touch()\n" + NET, encoding="utf-8")
    with pytest.raises(BadInput, match="is code, which a file must not choose"):
        load_model(path)
    assert not Path("harmed").exists()


def test_code_is_imported_only_where_the_user_wrote_it() -> None:
    with plugins.naming_code(), pytest.raises(BadInput, match=r"derive .* from compress\.contracts\.Loss"):
        plugins.find(Loss, "torch.nn:CrossEntropyLoss")
    with pytest.raises(BadInput, match="is code"):
        plugins.find(Architecture, "./net.py:Net")


@pytest.mark.nightly
def test_a_module_in_a_file_with_a_pth_becomes_a_verified_bundle(save_photos: Callable[..., list[Path]]) -> None:
    for label in range(10):
        save_photos(Path("photos") / str(label), label, 20)
    torch.save(create_model("./net.py:Net", width=32, depth=2).network.state_dict(), "w.pth")
    Path("own.yaml").write_text(
        "name: own\ndata: {dataset: image_folder, root: photos, image_size: 32}\n"
        'model: {architecture: "./net.py:Net", width: 32, depth: 2, weights: w.pth}\n'
        "export: [torchscript: {}, onnx: {}, tflite: {}, coreml: {precision: fp16}]\n",
        encoding="utf-8",
    )
    ended = compress("run", "own.yaml", folder=Path.cwd())
    assert ended.code == 0, ended.stdout + ended.stderr
    ended = compress("verify", "runs/own", folder=Path.cwd())
    assert ended.code == 0, ended.stdout + ended.stderr
