"""Checks of every request: the right host, no more bytes than an image, and headers against misuse."""

from __future__ import annotations

import ipaddress

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page loads nothing from elsewhere, and nothing elsewhere may show it or read it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware that refuses foreign hosts and adds ``HEADERS`` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else "localhost"
        if is_own_host(host):
            await self._app(scope, receive, guarded)
            return
        # A page elsewhere can have its own name resolve to 127.0.0.1 and read the answers (DNS rebinding).
        refusal = JSONResponse({"error": f"host '{host[:80]}' is not served; open the page by its IP address"}, 421)
        await refusal(scope, receive, guarded)


def is_own_host(host: str) -> bool:
    """Whether a Host header names this machine in a way that no foreign DNS answer can: localhost or an IP address."""
    name, colon, port = host.rpartition(":")
    if not (colon and port.isdecimal()):
        name = host
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
