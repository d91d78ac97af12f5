# SPDX-License-Identifier: Apache-2.0
"""A REST service that the guard forwards to, as a process that can be frozen and killed.

Run as ``python -m tests.rest_guard.service PORT [CERTIFICATE]``.
"""

from __future__ import annotations

import collections
import collections.abc
import hashlib
import http.server
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse

TOKEN = "admin"
"""What it gives as a token; placement without keystone takes it for an admin's."""

CHUNK = b"0123456789abcdef" * 4096
_TO_NAME = str.maketrans("-/.", "___")
_IMAGE = {"name": "cirros", "status": "active", "visibility": "public", "tags": []}
_COUNTS: collections.Counter[str] = collections.Counter()
_COUNTS_LOCK = threading.Lock()


def version(number: str, href: str) -> dict[str, object]:
    """One version as services describe it."""
    return {
        "id": number,
        "status": "CURRENT",
        "min_version": "1.0",
        "max_version": "1.39",
        "links": [
            {"rel": "self", "href": href},
            {"rel": "describedby", "href": "https://docs.example/api"},
        ],
    }


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; what is not named below is echoed."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def handle_expect_100(self) -> bool:
        if self.path == "/refuses":
            self._send(413, {"error": "too large"})
            self.close_connection = True
            return False
        if self.path == "/never-continues":
            time.sleep(3600)
        return super().handle_expect_100()

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query))
        with _COUNTS_LOCK:
            _COUNTS[f"{self.command} {parts.path}"] += 1
        action = getattr(self, "_at_" + parts.path.strip("/").translate(_TO_NAME), self._at_echo)
        action()

    def _at_(self) -> None:
        """The list of versions, its links at the host that was asked, as most services do."""
        host = self.headers["Host"]
        versions = [
            version("v1.0", ""),
            version("v2.0", f"http://{host}/v2/"),
            version("v3.0", f"http://{host}/v3/"),
        ]
        self._send(300, {"versions": versions})

    def _at_v2(self) -> None:
        self._send(404, {"error": "no document here"})

    def _at_v3(self) -> None:
        self._send(200, {"version": version("v3.0", f"http://{self.headers['Host']}/v3/")})

    def _at_v4(self) -> None:
        """A document whose links are at a public name that only the service knows."""
        self._send(200, {"version": version("v4.0", "https://public.example/volume/v4/")})

    def _at_v5(self) -> None:
        self._send(200, {"servers": [{"version": "v5"}]})

    def _at_v6(self) -> None:
        """A gateway that lost its service, once it has served the document."""
        with _COUNTS_LOCK:
            seen = _COUNTS["GET /v6"]
        if seen > 1:
            self._send(503, {"error": "no backend"})
        else:
            self._send(200, {"version": version("v6.0", "/v6/")})

    def _at_v3_auth_tokens(self) -> None:
        """A token, for all credentials but those that are called revoked."""
        if b"revoked" in b"".join(self._chunks()):
            self._send(401, {"error": {"code": 401, "message": "wrong password"}})
            return
        token = {
            "methods": ["password"],
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "issued_at": "2024-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "nova", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "default", "name": "Default"}},
            "roles": [],
            "catalog": [],
        }
        self._send(201, {"token": token}, {"X-Subject-Token": TOKEN})

    def _at_v2_0_ports(self) -> None:
        self._send(200, {"ports": []})

    def _at_v2_images_155d900f_4e14_4e4c_a73d_069cbf4541e6(self) -> None:
        self._send(200, {**_IMAGE, "id": self.path.rpartition("/")[2]})

    def _at_v2_schemas_image(self) -> None:
        properties = {name: {"type": ["string", "array"]} for name in ("id", *_IMAGE)}
        self._send(200, {"name": "image", "properties": properties})

    def _at_v7(self) -> None:
        """A document that takes for ever, once it has been served."""
        with _COUNTS_LOCK:
            seen = _COUNTS["GET /v7"]
        if seen > 1:
            time.sleep(3600)
        self._send(200, {"version": version("v7.0", "/v7/")})

    def _at_counts(self) -> None:
        with _COUNTS_LOCK:
            self._send(200, dict(_COUNTS))

    def _at_echo(self) -> None:
        digest, size = self._read_body()
        answer = {
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "sha256": digest,
            "size": size,
        }
        self._send(200, answer)

    def _at_big(self) -> None:
        """So many bytes, with a Content-Length."""
        size = int(self.query["bytes"])
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        while size > 0 and self.command != "HEAD":
            self.wfile.write(CHUNK[:size])
            size -= len(CHUNK)

    def _at_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-After")
        self.end_headers()
        for piece in (b"one", b"two", b"three"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\nX-After: all\r\n\r\n")

    def _at_trickle(self) -> None:
        """Bytes, one after the other, for as long as somebody reads."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while True:
            self.wfile.write(b".")
            time.sleep(0.05)

    def _at_fields(self) -> None:
        self.send_response(200)
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Connection", "X-Private")
        self.send_header("X-Private", "for the next hop")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _at_moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", f"http://{self.headers['Host']}/v3/?a=b")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _at_elsewhere(self) -> None:
        self.send_response(302)
        self.send_header("Location", "https://other.example/x")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _at_status(self) -> None:
        self._read_body()
        status = int(self.query["code"])
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Length", "2")
        self.end_headers()
        if status not in (204, 304) and self.command != "HEAD":
            self.wfile.write(b"{}")

    def _at_slow(self) -> None:
        time.sleep(float(self.query["seconds"]))
        self._at_echo()

    def _at_never(self) -> None:
        self._read_body()
        time.sleep(3600)

    def _at_hang_up(self) -> None:
        self._read_body()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _at_half(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
        self._at_hang_up()

    def _at_garbage(self) -> None:
        self.wfile.write(b"SMTP ready\r\n\r\n")
        self.close_connection = True

    def _read_body(self) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks():
            digest.update(chunk)
            size += len(chunk)
        return digest.hexdigest(), size

    def _chunks(self) -> collections.abc.Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            chunk = self.rfile.read(min(left, len(CHUNK)))
            left -= len(chunk)
            yield chunk

    def _send(
        self, status: int, answer: object, fields: collections.abc.Mapping[str, str] = {}
    ) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Takes the port that an earlier life of it had, although another socket reserves it."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_port = True


def main(port: str, certificate: str | None = None) -> None:
    """Serve on a loopback port for ever."""
    server = Server(("127.0.0.1", int(port)), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
