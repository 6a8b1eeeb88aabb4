"""The command line: parses, calls, prints; decides nothing. Heavy libraries load where they are used."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from compress.contracts import BadInput, CompressError, MissingTool
from compress.system.output import lasting_streams, line, printable

if TYPE_CHECKING:
    from compress.bundle.manifest import Entry
    from validators.results import Scores

MAX_LINE = 4000
"""Characters of an error message; a value from a damaged file can be megabytes."""

app = typer.Typer(
    name="compress",
    help="Train, compress and export image-retrieval networks for phones, and prove every exported file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _trusted(runtime: str | None) -> str | None:
    """A runtime that the user named may be another package's."""
    from compress.plugins import trust

    if runtime is not None:
        trust(runtime)
    return runtime


def _runtimes(incomplete: str) -> list[str]:
    """Runtime titles for the shell's completion."""
    from validators import runtime_titles

    return [title for title in runtime_titles() if title.startswith(incomplete)]


Bundle = Annotated[Path, typer.Argument(help="the folder that 'compress run' made")]
OnRuntime = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="execute on this runtime", autocompletion=_runtimes, callback=_trusted),
]
_PHOTOS = "folders, files, tables of paths (.csv, .parquet), addresses (s3://bucket/folder)"
Labels = Annotated[str, typer.Option(metavar="SOURCE", help="folders, none, or a CSV file with path,label")]
Workers = Annotated[int | None, typer.Option(help="processes [default: one per core]")]
OwnGallery = Annotated[
    Path | None, typer.Option("--gallery", metavar="FILE", help="a gallery of 'compress index' [default: the bundle's]")
]
Exact = Annotated[bool, typer.Option("--exact", help="compare with every image, even if the bundle has an index")]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="a recipe's file, or the name of one of 'compress recipes'")],
    out: Annotated[Path | None, typer.Option(help="the bundle's folder [default: runs/<recipe name>]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a value: train.epochs=5")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="STAGE", help="stop after data, train, …, export or validate")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="rerun finished stages")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check recipe, data and tools; start nothing")] = False,
) -> None:
    """Train, export and check: from a recipe to a verified bundle."""
    from compress import pipeline
    from compress.bundle.manifest import IndexedGallery
    from compress.commands._tables import index_line, print_upgrade
    from compress.recipe.reader import load_recipe
    from compress.recipe.shipped import recipe_path
    from compress.run.plan import plan
    from compress.system import processes

    checked = load_recipe(recipe_path(recipe), set_ or [])
    if until is not None and until not in checked.steps:
        raise BadInput(f"--until {until}: {recipe} has the stages {', '.join(checked.steps)}")
    if processes.number():
        if not dry_run:
            pipeline.assist(checked)
        return
    if dry_run:
        for step in plan(checked):
            line(step)
        return
    folder = out or Path("runs") / checked.name
    bundle = pipeline.run(checked, folder, until=until, fresh=fresh)
    processes.leave()
    if bundle is None:
        line(f"stopped after '{until}' as asked; rerun without --until to continue: {folder}")
        return
    _show(bundle.name, bundle.entries, bundle.source)
    if isinstance(bundle.gallery, IndexedGallery):
        line(index_line(bundle.gallery))
    if bundle.upgrade is not None:
        print_upgrade(bundle.upgrade)
    caught = sum(control.caught for control in bundle.controls)
    line(f"controls: {caught} of {len(bundle.controls)} negative controls caught")
    line(f"bundle: {folder}")
    _exit_on(bundle.failures)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="photographs, those of each class in a folder of their own")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the recipe to write [default: <folder's name>.yaml]")
    ] = None,
    phone: Annotated[str, typer.Option(metavar="CLASS", help="low, mid or high: how large files may be")] = "mid",
    minutes: Annotated[float, typer.Option(help="about how long the run may take")] = 15.0,
) -> None:
    """Look at photographs and write a commented recipe that fits them."""
    from compress.commands.init import init as write_recipe

    for each in write_recipe(folder, out, phone, minutes):
        line(each)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="print this recipe")] = None,
    copy: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="copy all recipes, samples for apps and the schema there")
    ] = None,
) -> None:
    """List the recipes that come with the package: score, time, hardware, purpose."""
    from compress.commands import recipes as shipped

    if name is not None and copy is not None:
        raise BadInput(f"recipes {name} --copy {copy}: --copy copies all recipes; remove {name}")
    if name is not None:
        for each in shipped.text(name).splitlines():
            line(each)
        return
    for each in shipped.lines() if copy is None else shipped.copy(copy):
        line(each)


@app.command()
def verify(
    folder: Bundle,
    runtime: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="execute on this runtime only", autocompletion=_runtimes, callback=_trusted),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    require: Annotated[
        str | None, typer.Option(metavar="FORMATS", help="fail unless these were executed: tflite,coreml")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="PUBLIC", help="public key of the signature that the bundle must have")
    ] = None,
    gallery: OwnGallery = None,
) -> None:
    """Check a bundle again on the runtimes installed here: hashes, golden images, gates."""
    from compress.commands._tables import verified_index_line
    from compress.commands.verify import verify as verify_bundle

    formats = [name.strip() for name in require.split(",")] if require else []
    result = verify_bundle(folder, runtime, require=formats, key=key, gallery=gallery)
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        _show(f"{result.name}, golden images", (*result.entries, *result.devices))
        if result.index is not None:
            line(verified_index_line(result.index))
    _exit_on(result.problems)


@app.command()
def sign(
    folder: Bundle,
    key: Annotated[Path, typer.Option(metavar="PRIVATE", help="private elliptic-curve key, PEM")],
) -> None:
    """Sign every byte of a bundle; 'compress verify --key' checks it. COMPRESS_KEY_PASSWORD opens the key."""
    from compress.bundle.manifest import read_manifest
    from compress.bundle.signing import sign as sign_bundle

    read_manifest(folder)
    line(str(sign_bundle(folder, key, os.environ.get("COMPRESS_KEY_PASSWORD"))))


@app.command(name="import-device-results")
def import_device_results(
    folder: Bundle,
    file: Annotated[Path, typer.Argument(help="the file that a sample wrote on the device")],
) -> None:
    """Add what a phone measured to a bundle; its scores are computed here, from its embeddings."""
    from compress.bundle.manifest import failed_gates
    from compress.commands.import_device_results import import_device_results as add
    from compress.report import write_report

    added = add(folder, file)
    _show(folder.resolve().name, added.entries)
    line(write_report(folder))
    if added.signature is not None:
        line(f"{added.signature}: no longer fits; sign the bundle again with 'compress sign'")
    _exit_on(tuple(failed_gates(added.entries)))


@app.command()
def bench(
    folder: Bundle,
    runtime: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="time on this runtime only", autocompletion=_runtimes, callback=_trusted),
    ] = None,
    threads: Annotated[int, typer.Option(help="threads of the runtime")] = 1,
    profile: Annotated[bool, typer.Option("--profile", help="show where the time goes, operator by operator")] = False,
) -> None:
    """Time every artifact side by side on this machine."""
    from compress.commands._tables import print_operators, print_timings
    from compress.commands.bench import bench as bench_bundle

    timings = bench_bundle(folder, runtime, threads, profile)
    print_timings(timings, threads)
    print_operators(timings)
    _exit_on([f"{timing.path}: {timing.reason}" for timing in timings if timing.reason is not None])


@app.command()
def search(
    folder: Bundle,
    image: Annotated[Path, typer.Argument(help="a photograph")],
    top: Annotated[int, typer.Option(metavar="K", help="how many gallery images")] = 10,
    artifact: Annotated[
        str | None, typer.Option(metavar="NAME", help="the file that embeds it [default: the first that runs here]")
    ] = None,
    runtime: OnRuntime = None,
    exact: Exact = False,
    gallery: OwnGallery = None,
    threshold: Annotated[
        str | None, typer.Option(metavar="RATE", help="match or no match: a false-accept rate (0.1%) or a distance")
    ] = None,
) -> None:
    """Find the K gallery images nearest to a photograph, with one artifact."""
    from compress.commands._tables import print_matches
    from compress.commands.search import query

    answer = query(
        folder, image, top=top, artifact=artifact, runtime=runtime, exact=exact, gallery=gallery, threshold=threshold
    )
    by = "" if answer.index is None else f" by {answer.index}"
    line(f"{answer.artifact} on {answer.runtime}, {answer.distance} distance, {answer.gallery:,} gallery images{by}")
    print_matches(answer.matches)
    if answer.threshold is not None and not answer.matches and answer.nearest is not None:
        far = f"the nearest image, {answer.nearest.name}, is at {answer.nearest.distance:.6g}"
        line(f"no match: {far}, beyond the threshold {answer.threshold:.6g}")


@app.command()
def index(
    folder: Bundle,
    photographs: Annotated[list[str] | None, typer.Argument(metavar="[PHOTOS]...", help=_PHOTOS)] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the gallery [default: BUNDLE.gallery.sqlite beside it]")
    ] = None,
    artifact: Annotated[
        str | None, typer.Option(metavar="NAME", help="the file that embeds [default: the one that made the gallery]")
    ] = None,
    runtime: OnRuntime = None,
    labels: Labels = "folders",
    sync: Annotated[bool, typer.Option("--sync", help="remove what is not among PHOTOS")] = False,
    remove: Annotated[list[str] | None, typer.Option(metavar="NAME", help="remove images, by name or pattern")] = None,
    stats: Annotated[bool, typer.Option("--stats", help="only say what the gallery holds")] = False,
    follow: Annotated[
        str | None, typer.Option("--index", metavar="NAME", help="keep an index beside it: usearch or usearch_i8")
    ] = None,
    similar: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="also list nearly equal photographs: a rate (0.01%) or a distance"),
    ] = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Put your own photographs into a gallery; again, only new and changed ones are embedded."""
    from compress.commands._tables import print_statistics, print_update
    from compress.commands.index import index as index_photographs
    from compress.commands.index import statistics

    if stats:
        found = statistics(folder, out)
        print(json.dumps(found.to_json(), indent=2)) if as_json else print_statistics(found)
        return
    file, update, beside = index_photographs(
        folder,
        photographs or [],
        out,
        artifact=artifact,
        runtime=runtime,
        labels=labels,
        sync=sync,
        without=remove or (),
        workers=workers,
        follow=follow,
        similar=similar,
    )
    if as_json:
        index_done = None if beside is None else asdict(beside)
        print(json.dumps({"file": str(file), **asdict(update), "index": index_done}, indent=2))
    else:
        print_update(file, update, beside)


@app.command()
def embed(
    folder: Bundle,
    photographs: Annotated[list[str], typer.Argument(metavar="PHOTOS...", help=_PHOTOS)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="a .parquet or .npy file")],
    artifact: Annotated[
        str | None, typer.Option(metavar="NAME", help="the file that embeds [default: the first that runs here]")
    ] = None,
    runtime: OnRuntime = None,
    labels: Labels = "folders",
    workers: Workers = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="embed on a Ray cluster: its address, auto, or local")
    ] = None,
) -> None:
    """Write the embeddings of many photographs into one file, for any vector database."""
    from compress.commands._tables import print_job
    from compress.commands.embed import embed as embed_all

    job = embed_all(
        folder, photographs, out, artifact=artifact, runtime=runtime, labels=labels, workers=workers, ray=ray
    )
    print_job(job)


@app.command()
def compare(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="bundles, or folders that hold bundles")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Compare bundles: size, latency, parity, mAP; of two, also what changed."""
    from compress.commands import compare as command
    from compress.commands._tables import print_comparison, print_overview

    folders = command.bundles_in(bundles)
    if len(folders) == 2:
        comparison = command.compare(*folders)
        print(json.dumps(comparison.to_json(), indent=2)) if as_json else print_comparison(comparison)
        return
    found = command.overview(folders)
    print(json.dumps(asdict(found), indent=2)) if as_json else print_overview(found)


@app.command()
def tune(
    recipe: Annotated[Path, typer.Argument(help="a recipe's file, or the name of one of 'compress recipes'")],
    budget: Annotated[str, typer.Option(metavar="LIMITS", help="of the exported file: ms<0.5,bytes<1.2e6")],
    trials: Annotated[int, typer.Option(min=1, help="in all; rerun with more to continue")] = 30,
    time: Annotated[str | None, typer.Option(metavar="TIME", help="start no trial after 2h, 30m or 90s")] = None,
    out: Annotated[Path | None, typer.Option(help="the search's folder [default: runs/<recipe name>-tune]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a value: train.epochs=5")
    ] = None,
) -> None:
    """Search for a network and options within a budget; every trial is measured on its exported file."""
    from compress.commands._tables import print_trials
    from compress.recipe.shipped import recipe_path
    from compress.tune import search
    from compress.tune.budget import Budget
    from compress.tune.rows import rows

    limits, time_s = Budget.parse(budget), None if time is None else search.seconds(time)
    found = search.tune(recipe_path(recipe), set_ or [], limits, trials=trials, time_s=time_s, out=out)
    print_trials(rows(found.outcomes, found.chosen))
    line(f"mAP among the validation photographs, of the exported file; report: {found.report}")
    if not found.finished:
        line("the time is over; rerun the same command to continue")
    if found.recipe is None:
        line("no trial has met the budget yet")
    else:
        line(f"chosen: {found.recipe}; compress run {found.recipe} makes the same file")


@app.command()
def upgrade(
    old: Annotated[Path, typer.Argument(help="the bundle that made the galleries")],
    new: Annotated[Path, typer.Argument(help="the bundle that is to search them")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say whether galleries of an old bundle must be rebuilt for a new one, and what each part of that gives."""
    from compress.commands._tables import print_plan
    from compress.commands.upgrade import plan

    found = plan(old, new)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print_plan(found)
    _exit_on(found.problems)


@app.command()
def report(folder: Bundle) -> None:
    """Write a bundle's report.html again."""
    from compress.report import write_report

    line(write_report(folder))


@app.command()
def demo(
    folders: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="folders that 'compress run' made")],
    host: Annotated[
        str, typer.Option(help="address to listen on; the default reaches this machine only")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    exact: Exact = False,
    gallery: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="galleries of 'compress index' [default: the bundles']")
    ] = None,
) -> None:
    """Serve a local page and a REST API to search with photographs; several bundles are searched side by side."""
    from compress.demo.server import serve

    serve(folders, host, port, exact=exact, galleries=gallery or ())


@app.command(name="list")
def list_components(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="architectures, datasets, exporters, runtimes, metrics, …")
    ] = None,
) -> None:
    """List what a recipe can name."""
    from compress.commands.list import lines

    for name in lines(kind):
        line(name)


@app.command()
def doctor() -> None:
    """Show what is installed here, at which version, and what cannot run."""
    from compress.commands.doctor import lines

    for tool in lines():
        line(tool)


@app.command()
def schema(
    bundle: Annotated[bool, typer.Option("--bundle", help="print the schema of bundle.json")] = False,
) -> None:
    """Print the recipe's JSON schema, for editors and CI."""
    from compress.bundle.manifest import json_schema as bundle_schema
    from compress.recipe.schema import schema_here as recipe_schema

    print(json.dumps(bundle_schema() if bundle else recipe_schema(), indent=2))


def _show(title: str, entries: Sequence[Entry], source: Scores | None = None) -> None:
    from compress.commands._tables import notes, print_matrix, print_table

    print_table(title, entries, source)
    print_matrix(entries)
    for note in notes(entries):
        line(note)


def _exit_on(problems: list[str] | tuple[str, ...]) -> None:
    for problem in problems:
        line(f"FAILED {problem}", sys.stderr)
    if problems:
        raise SystemExit(1)


def main() -> None:
    """Entry point: every error a user can act on is one line on stderr and an exit code."""
    from compress.plugins import check_import_names

    # Waiting OpenMP threads sleep instead of spinning: on a busy machine spinning made training over ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with lasting_streams():
        try:
            check_import_names()
            app()
        except CompressError as error:
            _end(error, error.exit_code)
        except OSError as error:
            _end(_of_system(error), _of_system(error).exit_code)
        except MemoryError:
            _end("memory: not enough for this; free some, or use smaller images or batches", MissingTool.exit_code)
        except KeyboardInterrupt:
            _end("interrupted; rerun the same command to resume", 130)


def _of_system(error: OSError) -> CompressError:
    """The machine lacks something (room, memory, open files), or a path cannot be used."""
    reason = error.strerror or str(error)
    text = f"{error.filename}: {reason}" if error.filename is not None else reason
    lacking = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO)
    return MissingTool(text) if error.errno in lacking else BadInput(text)


def _end(reason: object, exit_code: int) -> NoReturn:
    print(f"compress: {printable(reason, most=MAX_LINE)}", file=sys.stderr)
    raise SystemExit(exit_code) from None


if __name__ == "__main__":
    main()
