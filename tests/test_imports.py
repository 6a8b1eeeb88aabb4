"""Imports go one way, so that a reader can start anywhere: each room uses only the rooms before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from compress import plugins
from tests._command import REPOSITORY

PACKAGES = ("compress", "architectures", "exporters", "validators")
ORDER = (
    ("compress.contracts",),
    ("compress.plugins", "compress.system"),
    ("compress.options",),
    ("compress.data", "validators"),
    ("architectures",),
    ("compress.pruning",),
    ("compress.model",),
    (
        "compress.gallery",
        "compress.datasets",
        "compress.stages",
        "compress.losses",
        "compress.distillation",
        "compress.indexes",
        "exporters",
    ),
    ("compress.recipe",),
    ("compress.bundle",),
    ("compress.catalogue",),
    ("compress.run", "compress.commands", "compress.report"),
    ("compress.demo", "compress.tune"),
    ("compress.pipeline",),
    ("compress.api",),
    ("compress.cli",),
    ("compress.__main__",),
)
"""Each room may use those on the lines before its own, and none beside it."""


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


def room(name: str) -> tuple[int, str] | None:
    """Line of ``ORDER`` and room that a module lies in; None for the packages themselves, which hold no code."""
    found = [(line, each) for line, rooms in enumerate(ORDER) for each in rooms if inside(name, each)]
    return found[0] if found else None


def test_every_module_lies_in_a_room() -> None:
    assert [name for name, _ in modules() if room(name) is None] == ["compress"]


def test_rooms_use_only_the_rooms_before_them() -> None:
    wrong, seen = [], 0
    for name, tree in modules():
        home = room(name)
        for target in sorted(imported(tree)):
            other = room(target)
            if home is None or other is None or other == home:
                continue
            seen += 1
            if other[0] >= home[0]:
                wrong.append(f"{name} imports {target}")
    assert seen > 500
    assert not wrong, "\n".join(wrong)


def test_a_wrong_direction_would_be_found() -> None:
    late, early = room("compress.cli"), room("compress.contracts.models")
    assert late is not None and early is not None and late[0] > early[0]
    assert room("compress.gallery.store") != room("compress.stages.train")
    assert room("validators.measure") != room("compress.data.load")


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
for base in plugins.FOLDERS:
    for name in plugins.names(base):
        plugins.find(base, name)
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
    for base in plugins.FOLDERS:
        for name in plugins.names(base):
            component = plugins.find(base, name)
            assert component.component_name() == name
            assert Path(component.__module__.replace(".", "/")).name == name
