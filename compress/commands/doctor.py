"""``compress doctor``: list what is installed and what cannot run."""

from __future__ import annotations

from compress import plugins
from compress.commands._tables import columns
from compress.contracts import Runtime
from compress.system import environment
from validators import runtime_titles


def _version(name: str) -> str | None:
    """The version of a tool, with the wheel's own name if it is another one; None if it is not installed."""
    found = environment.installed(name)
    if found is None:
        return None
    wheel, version = found
    return version if wheel == name else f"{version} ({wheel})"


def lines() -> list[str]:
    """Versions of every tool Compress uses, then whether each runtime can run here."""
    found = [plugins.find(Runtime, name)() for name in plugins.names(Runtime)]
    uses = {runtime.package: f"runs {', '.join(sorted(runtime.formats))} files" for runtime in found}
    # Of libraries in another environment, and of npm packages.
    ready = [each for each in found if each.unavailable() is None]
    elsewhere = {each.package: each.version().removeprefix(each.package).split()[0] for each in ready}
    tools = {
        name: f"{_version(name) or elsewhere.get(name, 'not installed'):<14} {use}"
        for name, use in {**uses, **environment.TOOLS}.items()
    }
    runtimes = {title: runtime.unavailable() or "ready" for title, runtime in runtime_titles().items()}
    return [environment.machine(), "", *columns(tools), "", "runtimes:", *columns(runtimes)]
