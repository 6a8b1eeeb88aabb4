"""Imports go one way, so that a reader can start anywhere: contracts and helpers, components, recipe, pipeline, cli."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from compress import plugins
from tests._command import REPOSITORY

PACKAGES = ("compress", "architectures", "exporters", "validators")
TOP = (
    "compress.recipe",
    "compress.pipeline",
    "compress.cli",
    "compress.assess",
    "compress.bundle",
    "compress.schema",
    "compress.preflight",
)
COMPONENTS = tuple(package for package, _ in plugins.FOLDERS.values())


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST, top_level_only: bool = False) -> set[str]:
    nodes = tree.body if top_level_only and isinstance(tree, ast.Module) else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            assert node.module
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def inside(name: str, folder: str) -> bool:
    return name == folder or name.startswith(folder + ".")


def test_contracts_know_nobody() -> None:
    trees = [tree for name, tree in modules() if inside(name, "compress.contracts")]
    assert len(trees) > 1
    ours = {name for tree in trees for name in imported(tree) if name.partition(".")[0] in PACKAGES}
    assert not {name for name in ours if not inside(name, "compress.contracts")}


def test_components_know_neither_recipe_nor_pipeline_nor_the_other_folders() -> None:
    wrong = []
    for name, tree in modules():
        home = next((folder for folder in COMPONENTS if inside(name, folder)), None)
        if home is None:
            continue
        others = [folder for folder in COMPONENTS if folder != home and not inside(home, folder)]
        wrong += [
            f"{name} imports {target}"
            for target in imported(tree)
            if any(inside(target, folder) for folder in (*TOP, *others))
        ]
    assert not wrong


def test_only_the_command_line_knows_the_command_line() -> None:
    wrong = [
        name
        for name, tree in modules()
        if name not in ("compress.cli", "compress.__main__") and "compress.cli" in imported(tree)
    ]
    assert not wrong


def test_runtimes_and_converters_load_where_they_are_used() -> None:
    heavy = ("onnx", "onnxruntime", "onnxsim", "coremltools", "litert_torch", "ai_edge_litert", "tensorflow")
    code = """
import sys
from compress import plugins
for kind in plugins.FOLDERS:
    for name in plugins.names(kind):
        plugins.find(kind, name)
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "compress.stages.train" in loaded
    assert not loaded & set(heavy)


def test_no_import_goes_in_a_circle() -> None:
    """Over imports at the top of files: those inside functions run when everything is loaded."""
    graph: dict[str, set[str]] = {}
    known = dict(modules())
    for name, tree in known.items():
        graph[name] = {target for target in imported(tree, top_level_only=True) if target in known and target != name}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_a_component_file_holds_one_component() -> None:
    for kind in plugins.FOLDERS:
        for name in plugins.names(kind):
            component = plugins.find(kind, name)
            assert component.component_name() == name
            assert Path(component.__module__.replace(".", "/")).name == name
