"""``compress list``: the components a recipe can name."""

from __future__ import annotations

from compress import plugins
from compress.commands._tables import columns
from compress.contracts import BadInput


def lines(kind: str | None) -> list[str]:
    """Names with one line of explanation each; all kinds under headings when ``kind`` is None."""
    bases = {plugins.kind(base): base for base in plugins.FOLDERS}
    kinds = [*bases, "metrics"]
    if kind is None:
        return [line for each in kinds for line in (f"{each}:", *(f"  {entry}" for entry in lines(each)))]
    if kind not in kinds:
        raise BadInput(f"list {kind}: there are {', '.join(kinds)}{plugins.did_you_mean(kind, kinds)}")
    if kind == "metrics":
        return columns(_metrics())
    base = bases[kind]
    own = {name: plugins.summary(base, name) for name in plugins.names(base)}
    others = {name: plugins.offered_by(kind, name) for name in plugins.nameable(base) if name not in own}
    return columns({**own, **others})


def _metrics() -> dict[str, str]:
    from validators.metrics import list_metrics

    known = dict(list_metrics())
    return {**known, **{name: plugins.offered_by("metrics", name) for name in plugins.offered("metrics")}}
