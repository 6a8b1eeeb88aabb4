"""Clients that connect and keep the server waiting, or hold many uploads, over real connections."""

from __future__ import annotations

import http.client
import json
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from compress.demo import app as demo
from compress.demo import connection, uploads
from compress.demo.server import listen
from tests._command import start
from tests.conftest import Finished

UPLOAD = "POST /search?artifact=tiny.fp32.onnx HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"


@pytest.fixture
def port(finished: Finished) -> Iterator[int]:
    server = connection.server(demo.create_app([finished.folder]))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer(client: socket.socket) -> tuple[int, str]:
    """The status and what the refusal says."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, json.loads(response.read())["error"]


def is_closed(client: socket.socket) -> bool:
    """Reads to the end; fails after a minute without one."""
    with suppress(ConnectionResetError):
        while client.recv(4096):
            pass
    return True


def test_answers_do_not_wait_for_the_client_to_confirm_their_headers() -> None:
    with listen("127.0.0.1", 0) as listening, connect(listening.getsockname()[1]):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("sent", ["", "GET /artifacts HTTP/1.1\r\nHost: 127.0"], ids=["nothing", "half a request"])
def test_a_connection_without_a_request_is_closed(port: int, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    monkeypatch.setattr(connection, "HEADERS_S", 0.2)
    with connect(port) as client:
        client.sendall(sent.encode())
        assert is_closed(client)


def test_one_that_sends_a_body_nobody_reads_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADERS_S", 0.2)
    with connect(port) as client:
        client.sendall(b"GET /artifacts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n")
        http.client.HTTPResponse(client).begin()
        assert is_closed(client)


def test_an_upload_that_does_not_end_is_refused_and_a_whole_one_is_not(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEADERS_S", 0.2)  # which is not the time that an upload has
    monkeypatch.setattr(uploads, "BODY_S", 0.5)
    with connect(port) as client:
        client.sendall(f"{UPLOAD}Content-Length: 10\r\n\r\n123".encode())
        status, words = answer(client)
    assert status == 408
    assert "send it again" in words
    with connect(port) as client:
        client.sendall(f"{UPLOAD}Content-Length: 3\r\n\r\n123".encode())
        assert answer(client)[0] == 415  # it was read, and is no picture


def test_sixty_held_uploads_are_refused_before_they_fill_the_memory(finished: Finished) -> None:
    """Each sends almost all of the largest picture and then waits: 1.5 GB, were they all held."""
    fits = uploads.MAX_HELD // (uploads.MAX_BYTES - 1000)
    with start("demo", finished.folder, "--port", "0") as process, ExitStack() as stack:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[0].rpartition(":")[2])
        clients = [stack.enter_context(connect(port)) for _ in range(60)]
        for client in clients:
            client.sendall(f"{UPLOAD}Content-Length: {uploads.MAX_BYTES}\r\n\r\n".encode())
            client.sendall(bytes(uploads.MAX_BYTES - 1000))
        refused: list[socket.socket] = []
        while len(refused) < 60 - fits:
            waiting = [client for client in clients if client not in refused]
            answered, _, _ = select.select(waiting, [], [], 60)
            assert answered, f"only {len(refused)} of 60 were refused"
            refused += answered
        assert {answer(client)[0] for client in refused} == {503}
        measured = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, check=True)
        assert 1000 * int(measured.stdout) < 600_000_000
        for client in clients:
            client.close()
        photo = next((finished.recipe.parent / "photos").rglob("*.jpg")).read_bytes()
        asked = http.client.HTTPConnection("127.0.0.1", port)
        status = 503
        while status == 503:  # until the server has noticed that the clients are gone
            asked.request("POST", "/search?artifact=tiny.fp32.onnx", photo, {"Content-Type": "image/jpeg"})
            response = asked.getresponse()
            response.read()
            status = response.status
        assert status == 200
        process.terminate()
        assert process.communicate()[1] == ""
