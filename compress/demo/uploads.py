"""Receive pictures within limits of size, time and total memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

MAX_BYTES = 25_000_000
MAX_HELD = 4 * MAX_BYTES
"""Largest total size of all pictures that are being uploaded or searched."""
BODY_S = 60.0
"""3.3 Mbit/s for the largest picture."""


class Uploads:
    """Receives pictures and counts the bytes that requests hold."""

    def __init__(self) -> None:
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[BinaryIO]:
        """The request's body; it counts as held until the context ends.

        Raises:
            HTTPException: 400, 408, 413 or 503; the message is for people.
        """
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > MAX_BYTES:
            raise _too_large()
        picture = io.BytesIO()
        try:
            try:
                async with asyncio.timeout(BODY_S):
                    async for part in request.stream():
                        self._hold(len(part), picture)
                        picture.write(part)
            except TimeoutError:
                raise HTTPException(408, f"the picture did not arrive within {BODY_S:g} s; send it again") from None
            except ClientDisconnect:
                raise HTTPException(400, "the upload broke off") from None
            picture.seek(0)
            yield picture
        finally:
            self.held -= picture.getbuffer().nbytes

    def _hold(self, more: int, picture: io.BytesIO) -> None:
        if picture.tell() + more > MAX_BYTES:
            raise _too_large()
        if self.held + more > MAX_HELD:
            busy = "others are sending pictures and the memory for them is used up; try again in a few seconds"
            raise HTTPException(503, busy, {"Retry-After": "5"})
        self.held += more


def _too_large() -> HTTPException:
    return HTTPException(413, f"the picture has more than {MAX_BYTES:,} bytes; send a smaller one")
