"""``compress doctor``: what is installed, and what cannot run."""

from __future__ import annotations

from compress import plugins
from compress.commands.tables import columns
from compress.contracts import Runtime
from compress.system import environment


def lines() -> list[str]:
    """Versions of every tool Compress uses, then whether each runtime can run here."""
    tools = {
        name: f"{environment.version(name) or 'not installed':<14} {use}" for name, use in environment.TOOLS.items()
    }
    runtimes = {name: _runtime(name).unavailable() or "ready" for name in plugins.names("runtimes")}
    return [environment.machine(), "", *columns(tools), "", "runtimes:", *columns(runtimes)]


def _runtime(name: str) -> Runtime:
    runtime = plugins.find("runtimes", name)()
    assert isinstance(runtime, Runtime)
    return runtime
