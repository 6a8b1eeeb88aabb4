"""Serve the search page of bundles until the user ends it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from compress.contracts import BadInput, MissingTool


def serve(
    folders: Sequence[Path], host: str, port: int, *, exact: bool = False, galleries: Sequence[Path] = ()
) -> None:
    """Print the page's address and serve it until Ctrl+C.

    Args:
        host: the address to listen on; 127.0.0.1 reaches this machine only.
        port: 0 takes a free one.
        exact: compare with every image even if a bundle has an index.
        galleries: files that ``compress index`` made; a bundle without one searches its own gallery.

    Raises:
        BadInput: no bundle with a gallery, or the address cannot be had.
        MissingTool: the extra ``demo``, or what the index needs, is not installed.
    """
    try:
        from compress.demo.app import create_app
        from compress.demo.connection import server
    except ModuleNotFoundError as error:
        raise MissingTool(
            f"the search page needs '{error.name}', which is not installed; "
            'install it with: pip install "compress-retrieval[demo]"'
        ) from error
    app = create_app(folders, exact=exact, galleries=galleries)
    with listen(host, port) as listening:
        name = f"[{host}]" if ":" in host else host
        print(f"http://{name}:{listening.getsockname()[1]}  (Ctrl+C ends it)", flush=True)
        try:
            server(app).run(sockets=[listening])
        except KeyboardInterrupt:
            return


def listen(host: str, port: int) -> socket.socket:
    """A socket that connections are accepted from; port 0 takes a free one.

    Raises:
        BadInput: the address cannot be had.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"--host {host} --port {port}: cannot be served ({reason}); take another --port") from error
    # Connections inherit it. Without it the body of an answer waits some 40 ms for the client to confirm the headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
