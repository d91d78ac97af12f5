# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the REST services around nova: glance, neutron, and keystone's filter.

They answer what nova 34 asks for in the life of a server without networks, and 404 for the rest.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

IMAGE_ID = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
PROJECT_ID = "6f70656e737461636b20342065766572"

_IMAGE = {
    "id": IMAGE_ID,
    "name": "cirros",
    "status": "active",
    "visibility": "public",
    "protected": False,
    "checksum": "1d3062cd89af34e419f7100277f38b2b",
    "container_format": "bare",
    "disk_format": "raw",
    "size": 1024,
    "min_disk": 0,
    "min_ram": 0,
    "owner": PROJECT_ID,
    "tags": [],
    "created_at": "2024-01-01T00:00:00Z",
    "updated_at": "2024-01-01T00:00:00Z",
    "file": f"/v2/images/{IMAGE_ID}/file",
    "schema": "/v2/schemas/image",
}
_IMAGE_SCHEMA = {
    "name": "image",
    "properties": {
        name: {"type": ["null", "string", "integer", "boolean", "array"]} for name in _IMAGE
    },
    "additionalProperties": {"type": "string"},
}
_ANSWERS: dict[str, Any] = {
    f"/v2/images/{IMAGE_ID}": _IMAGE,
    "/v2/schemas/image": _IMAGE_SCHEMA,
    "/v2.0/extensions": {"extensions": []},
    "/v2.0/networks": {"networks": []},
    "/v2.0/ports": {"ports": []},
    "/v2.0/security-groups": {"security_groups": []},
    "/v2.0/floatingips": {"floatingips": []},
    "/v2.0/subnets": {"subnets": []},
}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removesuffix(".json")
        self._reply(200 if path in _ANSWERS else 404, _ANSWERS.get(path, {}))

    def _reply(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: what nova asks for stands in nova's own logs."""


class RestStub:
    """Glance and neutron on one loopback port."""

    def __init__(self) -> None:
        """Bind a free port; start() answers on it."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="rest-stub", daemon=True
        )

    @property
    def url(self) -> str:
        """The address to give to nova as endpoint_override."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more and return once the listening socket is closed."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


def admin_filter_factory(global_conf: object, **local_conf: object) -> Callable[..., _WsgiApp]:
    """Stand in for keystone's authtoken in nova's paste pipeline: every request is an admin's."""

    def admin_filter(app: _WsgiApp) -> _WsgiApp:
        def with_identity(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ.update(
                HTTP_X_USER_ID="admin",
                HTTP_X_PROJECT_ID=PROJECT_ID,
                HTTP_X_ROLES="admin,member,reader",
                HTTP_X_AUTH_TOKEN="admin",
                HTTP_X_SERVICE_CATALOG="[]",
                HTTP_X_IDENTITY_STATUS="Confirmed",
            )
            return app(environ, start_response)

        return with_identity

    return admin_filter
