"""Build the parts of the documentation that come from the code, so that they cannot become outdated.

- ``recipe.md``, every key of a recipe, is made from the components and the recipe's JSON schema.
- ``architectures-table`` in a page becomes a table of the networks' sizes, counted during the build.
- ``bundle-fields`` in a page becomes a table of each part of bundle.json, made from its schema and its classes.
- ``device-results-fields`` in a page becomes the same for a file of device results.
- CONTRIBUTING.md, the changelog, the recipes and the examples are added to the site, so that links to them work.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from compress import plugins
from compress.bundle.device_results import DeviceResults
from compress.bundle.manifest import Manifest
from compress.contracts import (
    Architecture,
    Check,
    Component,
    Dataset,
    Exporter,
    GalleryOptions,
    Index,
    Loss,
    Objective,
    PhotoOptions,
    Runtime,
    Stage,
)
from compress.options import Option, options_model, options_of
from compress.recipe.reader import check_sections
from compress.recipe.schema import json_schema
from validators.gates import RULES, default_limits
from validators.results import Part

ROOT = Path(__file__).parent.parent
JOINED = ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "examples/**/*.*", "recipes/*.yaml")
SIZES = "<!-- architectures-table -->"
FIELDS = "<!-- bundle-fields -->"
RESULTS = "<!-- device-results-fields -->"
TOP = {
    "name": "name of the run and its files",
    "seed": "seed of every random choice",
    "log": "where to send what a training measures, while it runs: [what trains](training.md#watch-a-training)",
    "license": "licence of the photographs, written into the bundle if the data set states none",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated page and the repository's own files."""
    files.append(File.generated(config, "recipe.md", content=recipe_page()))
    for pattern in JOINED:
        found = sorted(ROOT.glob(pattern))
        if not found:
            raise PluginError(f"docs/hooks.py: nothing in the repository matches '{pattern}'")
        for path in found:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the markers for tables."""
    for marker, made in ((SIZES, sizes), (FIELDS, bundle_fields), (RESULTS, device_fields)):
        if marker in markdown:
            markdown = markdown.replace(marker, made())
    return markdown


def sizes() -> str:
    """A table of the networks, each headless and with its default options."""
    from architectures import complexity, create_model

    rows = []
    for name in plugins.names(Architecture):
        size = complexity(create_model(name), (128, 128))
        counted = (f"{size.params / 1e6:.2f} M", f"{size.macs / 1e6:.0f} M")
        rows.append((f"`{name}`", *counted, plugins.summary(Architecture, name)))
    return table(("network", "parameters", "multiply-adds at 128 px", "what it is"), rows)


def bundle_fields() -> str:
    """The keys of bundle.json."""
    return fields(Manifest, "bundle")


def device_fields() -> str:
    """The keys of a file of device results."""
    return fields(DeviceResults, "results")


def fields(whole: type[Part], page: str) -> str:
    """The keys of a JSON file, one table per part, in the order in which parts are named.

    Args:
        whole: the type of the file.
        page: begins the anchors of the parts.

    Raises:
        PluginError: a key that its class does not explain.
    """
    schema = whole.model_json_schema(by_alias=True)
    parts = {whole.__name__: schema, **schema["$defs"]}
    classes = {part.__name__: part for part in _derived(Part)}
    named, texts = [whole.__name__], []
    for name in named:
        found = re.findall(r"#/\$defs/(\w+)", json.dumps(parts[name]["properties"]))
        named += [each for each in dict.fromkeys(found) if each not in named]
        meanings = dict(attributes(classes[name]))
        rows = []
        for key, values in parts[name]["properties"].items():
            if key not in meanings:
                raise PluginError(f"{classes[name].__module__}: the docstring of {name} does not list '{key}'")
            rows.append((f"`{key}`", kind_of(values, page), meanings[key].replace("None", "null")))
        about = inspect.cleandoc(classes[name].__doc__ or "").partition("Attributes:")[0].strip()
        title = "The whole file" if name == whole.__name__ else f"{name} {{ #{page}-{name.lower()} }}"
        texts.append(f"### {title}\n\n{about}\n\n{table(('key', 'type', 'meaning'), rows)}")
    return "\n\n".join(texts)


def _derived(part: type[Part]) -> Iterator[type[Part]]:
    for each in part.__subclasses__():
        yield each
        yield from _derived(each)


def kind_of(values: Mapping[str, Any], page: str) -> str:
    """A key's type in words, with links to the tables of parts."""
    if "$ref" in values:
        name = values["$ref"].rpartition("/")[2]
        return f"[{name}](#{page}-{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in values:
            return " or ".join(kind_of(each, page) for each in values[several])
    if values.get("type") == "array" and "items" in values:
        return f"list of {kind_of(values['items'], page)}"
    return allowed(values, {})


def recipe_page() -> str:
    """The page of every key. Raises PluginError if the schema has a section that this page lacks."""
    parts = {
        **dict.fromkeys(TOP, ""),
        "data": f"`dataset` names one of these. All share:\n\n{options(Dataset)}\n\n{components(Dataset, Dataset)}",
        "model": "`architecture` names one of these, or [your own network](architectures.md#your-own-network); "
        "`checkpoint` starts from trained weights (a file, or the folder of a finished run); `distance` is `l2`, "
        f"`cosine` or `hamming`, where the network allows it.\n\n{components(Architecture)}",
        "train": f"Without it, trained weights (`checkpoint`, `pretrained: true`, `weights`) are exported as they are."
        f"\n\n{options(plugins.find(Stage, 'train'))}\n\n"
        f"Losses:\n\n{components(Loss)}",
        "compress": "A list of stages, run in this order. A stage that trains has all options of [`train`](#train); "
        "its table shows its own and those with another default.\n\n"
        f"{components(Stage, plugins.find(Stage, 'train'), without=('train',))}\n\n"
        f"Objectives of `distill`:\n\n{components(Objective)}",
        "export": f"A list; each entry is one file.\n\n{components(Exporter)}",
        "gallery": f"{options(GalleryOptions)}\n\nIndexes:\n\n{components(Index)}",
        "validate": validate(),
        "tune": "What [`compress tune`](tune.md) may change: keys of the recipe, each with a list of values or a range "
        "(`{low: …, high: …}`, with `step` or `log: true` beside). `compress run` checks and does not use it.",
    }
    missing = json_schema()["properties"].keys() ^ parts.keys()
    if missing:
        raise PluginError(f"docs/hooks.py and the recipe's schema differ in {', '.join(sorted(missing))}")
    head = (
        "# Every recipe key\n\nMade from the code when this page was built. `compress schema` prints the same as JSON "
        "schema; `compress run RECIPE --dry-run` checks a recipe.\n\n"
        + table(("key", "meaning"), [(f"`{key}`", meaning) for key, meaning in TOP.items()])
    )
    return head + "".join(f"\n\n## {key}\n\n{text}" for key, text in parts.items() if text)


def validate() -> str:
    """The checks, the runtimes and the gates."""
    checks = [
        f"`{key}`: {plugins.summary(Check, name)}\n\n{options(plugins.find(Check, name))}"
        for key, name in check_sections().items()
    ]
    found = [get_type_hints(plugins.find(Exporter, name))["precision"] for name in plugins.names(Exporter)]
    precisions = list(dict.fromkeys(each for choice in found for each in get_args(choice)))
    limits = {each: default_limits(each) for each in precisions}
    rows = [
        (
            f"`{name}`",
            rule.direction,
            *(f"{limits[each][name]:g}" if name in limits[each] else "" for each in precisions),
        )
        for name, rule in RULES.items()
    ]
    gates = table(("gate", "the value is", *precisions), rows)
    return "\n\n".join(
        [
            *checks,
            "`photos`: null, or what is tried with [photographs](bundle.md#from-the-photograph-to-the-pixels):\n\n"
            + options(PhotoOptions),
            "`runtimes`: a list of the runtimes to execute on; by default the best installed one of each format.",
            components(Runtime),
            f"`gates`: limits by name, in addition to these defaults; a failed gate is exit code 1.\n\n{gates}",
        ]
    )


def components(base: type[Component], shared: type[Component] | None = None, without: tuple[str, ...] = ()) -> str:
    """A heading, the summary and the options of each; an option of ``shared`` only if its default differs."""
    kind, texts = plugins.kind(base), []
    for name in plugins.names(base):
        if name not in without:
            found = options(plugins.find(base, name), shared) or "No options of its own."
            texts.append(f"### `{name}` {{ #{kind}-{name} }}\n\n{plugins.summary(base, name)}\n\n{found}")
    return "\n\n".join(texts)


def options(component: type[Component], shared: type[Component] | None = None) -> str:
    """A table of a component's options; empty if it has none. Raises PluginError for an option without a meaning."""
    schema = options_model(component).model_json_schema()
    known = {} if shared is None else options_model(shared).model_json_schema()["properties"]
    meanings = dict(attributes(component))
    rows = []
    for field in options_of(component):
        values = schema["properties"][field.name]
        if field.name in known and known[field.name].get("default") == values.get("default"):
            continue
        kind = plugins.kind(field.metadata["base"]) if "base" in field.metadata else None
        default = field.metadata["default"] if kind else values.get("default")
        if "only" in field.metadata:
            words = f"options of the {kind} `{field.metadata['only']}`, or null"
        else:
            words = f"one of the {kind}" if kind else allowed(values, schema.get("$defs", {}))
            words += ", or null" if kind and default is None else ""
        shown = "required" if _required(field) else f"`{plain(default)}`"
        if field.name not in meanings:
            raise PluginError(f"{component.__module__}: the docstring does not list '{field.name}' under Attributes")
        rows.append((f"`{field.name}`", words, shown, meanings[field.name].replace("None", "null")))
    return table(("option", "values", "default", "meaning"), rows) if rows else ""


def attributes(component: type) -> Iterator[tuple[str, str]]:
    """(option, meaning) from the docstrings of a class and its bases."""
    for each in dataclasses.fields(component) if dataclasses.is_dataclass(component) else ():
        if "flat" in each.metadata:
            yield from attributes(each.metadata["flat"])
    for each in reversed(component.__mro__):
        _, _, listed = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
        listed = listed.partition("\n\n")[0]
        for entry in re.split(r"\n(?=\S)", textwrap.dedent(listed)):
            names, colon, meaning = entry.partition(": ")
            if colon:
                yield from ((name.strip(), " ".join(meaning.split())) for name in names.split(","))


def allowed(values: Mapping[str, Any], defined: Mapping[str, Any]) -> str:
    """A property's type and limits in words."""
    if "$ref" in values:
        return allowed(defined[values["$ref"].rpartition("/")[2]], defined)
    if "anyOf" in values:
        return " or ".join(allowed(each, defined) for each in values["anyOf"])
    if "enum" in values:
        return ", ".join(f"`{plain(each)}`" for each in values["enum"])
    if "const" in values:
        return f"`{plain(values['const'])}`"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {values[key]:g}" for key, sign in signs.items() if key in values]
    kind = values.get("type", "mapping")
    if kind == "array":
        inner = values["items"] if isinstance(values.get("items"), dict) else (values.get("prefixItems") or [{}])[0]
        return f"list of {allowed(inner, defined)}"
    return " ".join([{"null": "null", "object": "mapping"}.get(kind, kind), ", ".join(limits)]).strip()


def plain(value: Any) -> str:
    """A value as a recipe writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return f"[{', '.join(plain(each) for each in value)}]" if isinstance(value, list | tuple) else str(value) or '""'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _required(field: Option) -> bool:
    return field.default is dataclasses.MISSING and "base" not in field.metadata
