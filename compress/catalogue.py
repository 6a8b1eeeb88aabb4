"""What exists (``compress list``) and what is installed (``compress doctor``)."""

from __future__ import annotations

from compress import environment, plugins
from compress.contracts import BadInput, Runtime


def lines(kind: str | None) -> list[str]:
    """Names with one line of explanation each; all kinds under headings when ``kind`` is None."""
    kinds = [*plugins.FOLDERS, "metrics"]
    if kind is None:
        return [line for each in kinds for line in (f"{each}:", *(f"  {entry}" for entry in lines(each)))]
    if kind not in kinds:
        raise BadInput(f"list {kind}: there are {', '.join(kinds)}{plugins.did_you_mean(kind, kinds)}")
    return _columns(
        _metrics() if kind == "metrics" else {name: plugins.summary(kind, name) for name in plugins.names(kind)}
    )


def doctor() -> list[str]:
    """Versions of every tool Compress uses, then whether each runtime can run here."""
    tools = {
        name: f"{environment.version(name) or 'not installed':<14} {use}" for name, use in environment.TOOLS.items()
    }
    runtimes = {name: _runtime(name).unavailable() or "ready" for name in plugins.names("runtimes")}
    return [environment.machine(), "", *_columns(tools), "", "runtimes:", *_columns(runtimes)]


def _metrics() -> dict[str, str]:
    from validators.metrics import list_metrics

    return dict(list_metrics())


def _runtime(name: str) -> Runtime:
    runtime = plugins.find("runtimes", name)()
    assert isinstance(runtime, Runtime)
    return runtime


def _columns(entries: dict[str, str]) -> list[str]:
    width = max((len(name) for name in entries), default=0)
    return [f"{name:<{width}}  {text}" for name, text in entries.items()]
