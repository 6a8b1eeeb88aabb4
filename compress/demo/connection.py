"""The connections to the search page: how many, and how long each may keep the server waiting."""

from __future__ import annotations

import asyncio

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
"""Further ones are answered with 503: each may hold a third of a megabyte that nobody has read yet."""

HEADERS_S = 10.0
"""A request's headers must have arrived so many seconds after the connection was made or last answered."""


def server(app: ASGIApp) -> uvicorn.Server:
    """A server of ``app`` that says nothing but errors."""
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
    """uvicorn's, which waits for ever on a client that connects and sends nothing, or a byte now and then."""

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
        # A request that is being answered has time; the application bounds that of its body.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
