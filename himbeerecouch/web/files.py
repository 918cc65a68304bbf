"""The files of the page, read once: nothing that a request says becomes a path."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from himbeerecouch.web.http import Exchange
from himbeerecouch.web.rules import Refused

INDEX = "index.html"
NONCE = b"__NONCE__"
"""Stands in the index for the number that allows the page's own styles."""
FOREVER = "public, max-age=31536000, immutable"
"""For files whose name changes with their content."""


@frozen
class File:
    """One file, with its gzip-compressed form where that lies beside it."""

    body: bytes
    compressed: bytes | None
    content_type: str
    cache: str
    etag: str


class Files:
    """All files below a folder, by their path."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self._files = files

    @classmethod
    def read(cls, folder: Path) -> Files:
        """Read a folder; where it is missing, there are no files.  Raises OSError."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".gz")
        return cls({path.relative_to(folder).as_posix(): _file(folder, path) for path in paths})

    def index(self, nonce: str) -> bytes:
        """Give the page itself.  Raises Refused where it was not built."""
        file = self._files.get(INDEX)
        if file is None:
            raise Refused(503, "not_built", "the files of the page are missing: this himbeerecouch was not built whole")
        return file.body.replace(NONCE, nonce.encode("ascii"))

    def send(self, exchange: Exchange, path: str) -> None:
        """Answer with a file.  Raises Refused where there is none."""
        file = self._files.get(path)
        if file is None or path == INDEX:
            raise Refused(404, "not_found", "there is no such page")
        headers = {"Cache-Control": file.cache, "ETag": file.etag}
        body = file.body
        if file.compressed is not None:
            headers["Vary"] = "Accept-Encoding"
            if _takes_gzip(exchange.header("accept-encoding")):
                headers["Content-Encoding"] = "gzip"
                body = file.compressed
        if file.etag in (exchange.header("if-none-match") or ""):
            exchange.send(304, b"", headers)
        else:
            exchange.send(200, body, {**headers, "Content-Type": file.content_type})


def _file(folder: Path, path: Path) -> File:
    body = path.read_bytes()
    beside = path.with_name(path.name + ".gz")
    kind = mimetypes.guess_type(path.name, strict=False)[0] or "application/octet-stream"
    if path.suffix in (".js", ".mjs"):
        kind = "text/javascript"  # what the machine's own table says differs
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    forever = path.relative_to(folder).parts[0] == "assets"
    return File(
        body,
        beside.read_bytes() if beside.is_file() else None,
        kind,
        FOREVER if forever else "no-cache",
        f'W/"{hashlib.sha256(body).hexdigest()[:20]}"',
    )


def _takes_gzip(accepted: str | None) -> bool:
    for coding in (accepted or "").split(","):
        name, _, quality = coding.partition(";")
        if name.strip().lower() == "gzip":
            return quality.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
