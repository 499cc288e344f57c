"""An HTTP server for bench.archive, in a process of its own: `archive_server.py FOLDER`; prints its port.

GET and HEAD serve files of FOLDER, PUT writes them, POST answers as S3 does to the two steps of a multipart upload. It
verifies nothing and is as raw as it can be: what is measured is the client.
"""

from __future__ import annotations

import os
import socket
import socketserver
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

FOLDER = Path(sys.argv[1])
BLOCK_BYTES = 1 << 18
XML = b"<?xml version='1.0'?><R><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId><ETag>&quot;e&quot;</ETag></R>"
RESULTS = {"uploads": b"InitiateMultipartUploadResult", "uploadId": b"CompleteMultipartUploadResult"}


class Handler(socketserver.StreamRequestHandler):
    """Answers requests on one kept connection."""

    rbufsize = BLOCK_BYTES
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Go on until the client leaves."""
        while line := self.rfile.readline():
            method, target, _ = line.decode().split(" ")
            headers = {}
            while field := self.rfile.readline().decode().strip():
                name, _, value = field.partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("expect"):
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            query = parse_qs(urlsplit(target).query, keep_blank_values=True)
            path = FOLDER / unquote(urlsplit(target).path).strip("/").replace("/", "_")
            getattr(self, method.lower())(path, headers, query)

    def get(self, path: Path, headers: dict[str, str], query: dict[str, list[str]]) -> None:
        """Send a file as fast as the kernel can."""
        if not path.exists():
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        with path.open("rb") as source:
            self.head(path, headers, query)
            self.connection.sendfile(source)

    def head(self, path: Path, headers: dict[str, str], query: dict[str, list[str]]) -> None:
        """Send the length alone."""
        if not path.exists():
            self.answer(404)
            return
        kind = "video/mp4" if path.suffix == ".mp4" else "application/octet-stream"
        self.say(200, f"Content-Length: {path.stat().st_size}\r\nContent-Type: {kind}\r\n")

    def put(self, path: Path, headers: dict[str, str], query: dict[str, list[str]]) -> None:
        """Keep what comes; parts lie beside the file, nobody asks for them here."""
        if "partNumber" in query:
            path = path.with_name(f"{path.name}.{query['partNumber'][0]}")
        left, block = int(headers["content-length"]), memoryview(bytearray(BLOCK_BYTES))
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        while left:
            count = self.rfile.readinto(block[: min(left, BLOCK_BYTES)])
            os.write(handle, block[:count])
            left -= count
        os.close(handle)
        self.answer(200)

    def post(self, path: Path, headers: dict[str, str], query: dict[str, list[str]]) -> None:
        """Begin or complete a multipart upload."""
        self.rfile.read(int(headers.get("content-length", 0)))
        root = next((name for field, name in RESULTS.items() if field in query), b"R")
        self.answer(200, XML.replace(b"<R>", b"<%s>" % root).replace(b"</R>", b"</%s>" % root))

    def delete(self, path: Path, headers: dict[str, str], query: dict[str, list[str]]) -> None:
        """Forget a file."""
        path.unlink(missing_ok=True)
        self.say(204, "")

    def answer(self, status: int, body: bytes = b"") -> None:
        """Send a short answer."""
        self.say(status, f"Content-Length: {len(body)}\r\n", body)

    def say(self, status: int, fields: str, body: bytes = b"") -> None:
        """Send a head and what belongs to it."""
        self.connection.sendall(f'HTTP/1.1 {status} X\r\nETag: "e"\r\n{fields}\r\n'.encode() + body)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True
    address_family = socket.AF_INET
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no error here."""


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
