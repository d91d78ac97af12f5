# SPDX-License-Identifier: Apache-2.0
"""The pages that show the fleet to people, and the document that they read."""

import importlib.resources

from nova_edge_bus.endpoint import fleet
from nova_edge_bus.endpoint import fleet_json
from nova_edge_bus.monitoring import pages

_FOLDER = "fleet-page"
_FILES = {
    "/fleet": ("fleet.html", pages.HTML),
    "/fleet.css": ("fleet.css", "text/css; charset=utf-8"),
    "/fleet.js": ("fleet.js", "text/javascript; charset=utf-8"),
}

_HEADERS = (
    # Names of hosts come from the hosts. Should one ever get into the page as more than text, it
    # still can neither run nor load anything.
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)


def routes(table: fleet.Fleet, endpoint: str) -> dict[str, pages.Page]:
    """The pages by their paths.

    :param endpoint: what the page calls the endpoint
    """
    source = fleet_json.FleetJson(table, endpoint)
    folder = importlib.resources.files(__package__).joinpath(_FOLDER)
    found = {
        path: _static((folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()
    }
    return {**found, "/fleet.json": _document(source)}


def _static(body: bytes, kind: str) -> pages.Page:
    response = pages.Response(body, kind, headers=_HEADERS)
    return lambda request: response


def _document(source: fleet_json.FleetJson) -> pages.Page:
    def answer(request: pages.Request) -> pages.Response:
        made = source.document()
        headers = (*_HEADERS, ("Vary", "Accept-Encoding"))
        if _takes_gzip(request.headers.get("Accept-Encoding") or ""):
            return pages.Response(
                made.packed, pages.JSON, headers=(*headers, ("Content-Encoding", "gzip"))
            )
        return pages.Response(made.plain, pages.JSON, headers=headers)

    return answer


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
