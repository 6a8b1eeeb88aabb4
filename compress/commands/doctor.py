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
    runtimes = {n: plugins.find(Runtime, n)().unavailable() or "ready" for n in plugins.names(Runtime)}
    return [environment.machine(), "", *columns(tools), "", "runtimes:", *columns(runtimes)]
