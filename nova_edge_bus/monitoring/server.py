# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server for pages that are only read.

Everything about it is bounded: its threads, the size of a request, and how long a client may take
to send one and to read the response. It uses native threads and sockets, so that under eventlet,
too, nothing here runs in the hub.
"""

import collections.abc
import http
import http.server
import io
import typing
import urllib.parse

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import listening
from nova_edge_bus.monitoring import pages

_log = concurrency.NativeLogger(__name__)

THREADS = 2
"""Clients that are served at a time; the others wait in the socket's queue."""
QUEUE = 16
CLIENT_SECONDS = 5.0
"""How long a client may take to send its request, and to read the response."""
REQUEST_BYTES = 16 << 10
STOP_SECONDS = 2 * CLIENT_SECONDS
_PAUSE = 0.1
"""Seconds between two attempts to accept when the process has no descriptor left."""
_REPEAT = 600.0
_END_OF_HEAD = b"\r\n\r\n"


class MonitoringError(errors.EdgeBusError):
    """Metrics and health cannot be served as they were to be."""


class Server:
    """Serves *routes*, pages by their path, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self, address: listening.Address, routes: collections.abc.Mapping[str, pages.Page]
    ) -> None:
        self._address = address
        self._routes = dict(routes)
        self._socket: typing.Any = None
        self._stopping = False
        self._threads: list[typing.Any] = []

    def start(self) -> listening.Address:
        """Bind and begin to serve; give the address as bound. May be tried again if it failed.

        :raises MonitoringError: when the address cannot be bound
        """
        sockets = concurrency.native.socket
        family = sockets.AF_INET6 if ":" in self._address.host else sockets.AF_INET
        socket = sockets.socket(family, sockets.SOCK_STREAM)
        try:
            socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
            socket.bind(self._address)
            socket.listen(QUEUE)
        except OSError as error:
            socket.close()
            hint = listening.hint(error.errno or 0, error.strerror or str(error))
            raise MonitoringError(f"cannot serve metrics at {self._address}: {hint}") from None
        self._socket = socket
        self._threads = [
            concurrency.spawn(f"edge-bus-http-{number}", self._serve) for number in range(THREADS)
        ]
        return listening.Address(*socket.getsockname()[:2])

    def stop(self) -> None:
        """Close the address; what is being served has ten seconds to end."""
        if self._socket is None:
            return
        self._stopping = True
        try:
            # Closing alone does not wake a thread that waits for a client.
            self._socket.shutdown(concurrency.native.socket.SHUT_RDWR)
        except OSError:
            pass
        for thread in self._threads:
            concurrency.join(thread, STOP_SECONDS)
        self._socket.close()
        self._socket = None

    def _serve(self) -> None:
        while not self._stopping:
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                if not self._stopping:
                    _log.warning_once_in(_REPEAT, "cannot accept a reader of metrics: %s", error)
                    concurrency.native.time.sleep(_PAUSE)
                continue
            try:
                with client:
                    self._answer(client)
            except OSError:
                # It has gone, or took too long; nobody is left to be told.
                continue
            except Exception:
                _log.error("cannot serve a reader of metrics")

    def _answer(self, client: typing.Any) -> None:
        deadline = concurrency.monotonic() + CLIENT_SECONDS
        head = b""
        while _END_OF_HEAD not in head and len(head) < REQUEST_BYTES:
            client.settimeout(max(0.001, deadline - concurrency.monotonic()))
            received = client.recv(REQUEST_BYTES - len(head))
            if not received:
                break
            head += received
        if not head:
            return
        client.settimeout(CLIENT_SECONDS)
        client.sendall(_Exchange(head, self._routes).answer)


class _Exchange(http.server.BaseHTTPRequestHandler):
    """One request, which has been read, and the answer to it, which is yet to be written."""

    def __init__(self, head: bytes, routes: dict[str, pages.Page]) -> None:
        # Not the base's constructor: it would read from a socket, without an end in time.
        self._routes = routes
        self.rfile = io.BytesIO(head)
        self.wfile = io.BytesIO()
        self.client_address = ("", 0)
        self.handle_one_request()

    @property
    def answer(self) -> bytes:
        written = typing.cast(io.BytesIO, self.wfile)
        return written.getvalue()

    def do_GET(self) -> None:
        self._send(self._response(), with_body=True)

    def do_HEAD(self) -> None:
        self._send(self._response(), with_body=False)

    def _response(self) -> pages.Response:
        parts = urllib.parse.urlsplit(self.path)
        page = self._routes.get(parts.path)
        if page is None:
            known = " ".join(self._routes)
            return pages.text(
                f"there is no such page; there are {known}", http.HTTPStatus.NOT_FOUND
            )
        try:
            query = urllib.parse.parse_qs(parts.query, max_num_fields=64)
            return page(pages.Request(parts.path, query, self.headers))
        except Exception:
            _log.error("page %s failed", parts.path)
            return pages.text(
                "this page failed; see the log", http.HTTPStatus.INTERNAL_SERVER_ERROR
            )

    def _send(self, response: pages.Response, *, with_body: bool) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(response.body)

    def version_string(self) -> str:
        return "nova-edge-bus"

    def log_message(self, format: str, *args: object) -> None:
        """What is read is not logged: probes come every few seconds."""
