# SPDX-License-Identifier: Apache-2.0
"""The version documents of one upstream: learned from it, given in its place."""

import json
import pathlib

from aiohttp import web

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import answers
from nova_edge_bus.rest_guard import cache
from nova_edge_bus.rest_guard import discovery

_STATUSES = (200, 300)


class Documents:
    """What the upstream once served is given again as it was, its links at the guard.

    :raises RestGuardError: when the directory cannot be made
    """

    def __init__(self, directory: pathlib.Path, upstream: addresses.Upstream) -> None:
        self._upstream = upstream
        self._cache = cache.Cache(directory, upstream, "documents", _is_valid)

    def __len__(self) -> int:
        return len(self._cache)

    def at(self, method: str, target: str) -> "Document | None":
        """The version document that a request asks for; None where none is expected."""
        key = discovery.key(target, self._upstream.path) if method == "GET" else None
        return None if key is None else Document(self._cache, key, self._upstream)

    def linked(self, target: str) -> list[str]:
        """Where else at the upstream the document kept for *target* points to documents."""
        key = discovery.key(target, self._upstream.path)
        entry = None if key is None else self._cache.get(key)
        if entry is None:
            return []
        hrefs = {link["href"] for link in discovery.links(entry["document"])}
        return sorted(
            href for href in hrefs if href.startswith("/") and self.at("GET", href) is not None
        )


class Document:
    """One version document, known or not; see :class:`~nova_edge_bus.rest_guard.known.Known`."""

    max_bytes = 64 * 1024
    patience = False

    def __init__(self, kept: cache.Cache, key: str, upstream: addresses.Upstream) -> None:
        self._cache = kept
        self._key = key
        self._upstream = upstream

    def keep(self, status: int, body: bytes, origin: str) -> bytes | None:
        """Keep a version document; links to the upstream's host lose it here."""
        document = discovery.parse(body) if status in _STATUSES else None
        if document is None:
            return None
        document = discovery.detach(document, [self._upstream.netloc])
        self._cache.put(self._key, {"status": status, "document": document})
        return json.dumps(discovery.attach(document, origin)).encode()

    def answer(self, origin: str) -> web.Response | None:
        """The document that was kept, its links at *origin*."""
        entry = self._cache.get(self._key)
        if entry is None:
            return None
        return answers.stand_in(entry["status"], discovery.attach(entry["document"], origin))


def _is_valid(entry: cache.Entry) -> bool:
    return entry["status"] in _STATUSES and discovery.is_document(entry["document"])
