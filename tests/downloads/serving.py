"""A server on this machine that can be as bad as those elsewhere, and a small dataset for it."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nnunetv2_spinesegdiff.downloads.datasets import Archive, Dataset, Table


@dataclass
class Shelf:
    """What is served, how, and what was asked for.

    Attributes:
        files: name to content.
        cut_after: bytes of content after which the connection of a GET is closed, an entry a GET; then none.
        ranges, heads: whether the server knows these requests.
        lengths: whether it tells how long a file is.
        statuses: sent instead of a file, an entry a request; then none.
        requests: (method, name, value of Range) of every request.
        headers: of every request.
        sent: bytes of content that went out.
    """

    files: dict[str, bytes]
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    heads: bool = True
    lengths: bool = True
    etags: bool = True
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def asked(self, name: str) -> list[str]:
        """Range of every GET of a file; empty for the whole."""
        return [span for method, asked, span in self.requests if (method, asked) == ("GET", name)]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        shelf, name, span = self.server.shelf, self.path.lstrip("/"), self.headers.get("Range", "")
        shelf.requests.append((self.command, name, span))
        shelf.headers.append(dict(self.headers.items()))
        status = shelf.statuses.pop(0) if shelf.statuses else 200 if name in shelf.files else 404
        if self.command == "HEAD" and not shelf.heads:
            status = 405
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if status == 429:
                self.send_header("Retry-After", "7")
            self.end_headers()
            return
        content = shelf.files[name]
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        first = 0
        if span and shelf.ranges and self.headers.get("If-Range", tag) == tag:
            first = int(span.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if shelf.etags:
            self.send_header("ETag", tag)
        if shelf.lengths:
            self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        block = content[first:]
        if shelf.cut_after:
            block = block[: shelf.cut_after.pop(0)]
        shelf.sent += len(block)
        self.wfile.write(block)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    shelf: Shelf


class serving:
    """Serve a shelf for the time of a block."""

    def __init__(self, shelf: Shelf) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.shelf = shelf
        shelf.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Shelf:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self._server.shelf

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip, not compressed, so that its size is known."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def dataset_of(files: Mapping[str, bytes]) -> Dataset:
    """Zips and CSV files as a dataset: `images.zip` is the part `images`, all CSV files are `tables`."""
    parts: dict[str, tuple[Archive | Table, ...]] = {
        "tables": tuple(Table(name, ("name",), 10) for name in files if name.endswith(".csv"))
    }
    for name, content in files.items():
        if name.endswith(".zip"):
            parts[name.removesuffix(".zip")] = (Archive(name, hashlib.sha256(content).hexdigest(), 100, 3),)
    return Dataset("http://127.0.0.1:9", parts, ())
