"""A server of this machine that speaks as much of S3 as reading needs: a folder's folders are its buckets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 4
"""Names in one answer; S3 sends 1,000."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The options that an address needs to reach the server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            bucket, _, key = unquote(asked.path).lstrip("/").partition("/")
            query = {name: values[0] for name, values in parse_qs(asked.query).items()}
            if not (folder / bucket).is_dir():
                self._xml(404, "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>")
            elif not key:
                self._xml(200, _listing(folder / bucket, query) if "list-type" in query else "")
            elif not (folder / bucket / key).is_file():
                self._xml(404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
            else:
                self._file((folder / bucket / key).read_bytes())

        def _file(self, content: bytes) -> None:
            first, last = 0, len(content) - 1
            if wanted := self.headers.get("Range"):
                first, last = (int(each) for each in wanted.removeprefix("bytes=").split("-"))
                last = min(last, len(content) - 1)
            part = content[first : last + 1]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self._send(part, "image/jpeg")

        def _xml(self, status: int, body: str) -> None:
            self.send_response(status)
            self._send(f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode(), "application/xml")

        def _send(self, body: bytes, kind: str) -> None:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", formatdate(0, usegmt=True))
            self.send_header("ETag", '"0"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=eu-west-1"
        server.shutdown()


def _listing(bucket: Path, query: dict[str, str]) -> str:
    prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
    keys = sorted(file.relative_to(bucket).as_posix() for file in bucket.rglob("*") if file.is_file())
    keys = [key for key in keys if key.startswith(prefix) and key > after]
    folders: list[str] = []
    if delimiter := query.get("delimiter"):
        inside = [key for key in keys if delimiter in key[len(prefix) :]]
        keys = [key for key in keys if key not in inside]
        folders = sorted({prefix + key[len(prefix) :].split(delimiter)[0] + delimiter for key in inside})
    page = keys[:PAGE]
    more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(keys) > PAGE else ""
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>0</ETag>"
        f"<Size>{(bucket / key).stat().st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in page
    )
    shared = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders)
    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket.name}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{contents}{shared}"
        "</ListBucketResult>"
    )
