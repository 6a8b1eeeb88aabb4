"""The connections to the search page: how many, and how long each may keep the server waiting."""

from __future__ import annotations

import asyncio

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
"""Further connections are answered with 503, because each may hold a third of a megabyte of unread data."""

HEADERS_S = 10.0
"""A request's headers must arrive within this many seconds after the connection was made or last answered."""


def server(app: ASGIApp) -> uvicorn.Server:
    """Make a server of ``app`` that logs only errors."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_level="error",
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
        )
    )


class Connection(H11Protocol):
    """Limits the time of a request's headers; uvicorn's own class waits for ever for a client that sends nothing."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEADERS_S, self._close_if_waiting)

    def _close_if_waiting(self) -> None:
        # A request that is being answered has no limit here; the application limits the time of its body.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
