# SPDX-License-Identifier: Apache-2.0
"""The version documents of one upstream: learned from it, given in its place."""

from aiohttp import web

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import answers
from nova_edge_bus.rest_guard import cache
from nova_edge_bus.rest_guard import discovery


class Documents:
    """What the upstream once served is given again as it was, its links at the guard."""

    def __init__(self, upstream: addresses.Upstream, kept: cache.DiscoveryCache) -> None:
        self._upstream = upstream
        self._cache = kept

    def expected(self, method: str, target: str) -> bool:
        """Tell whether the answer to this request may be a version document."""
        return method == "GET" and self._key(target) is not None

    def keep(self, target: str, status: int, body: bytes) -> discovery.Document | None:
        """Keep what the upstream has served at *target* if that is a version document.

        :return: the document, its links to the upstream without their host; None if it is none
        """
        key = self._key(target)
        if key is None or status not in cache.STATUSES or len(body) > discovery.MAX_BYTES:
            return None
        document = discovery.parse(body)
        if document is None:
            return None
        document = discovery.detach(document, [self._upstream.netloc])
        self._cache.put(key, cache.Entry(status, document))
        return document

    def has(self, method: str, target: str) -> bool:
        """Tell whether :meth:`answer` would have one."""
        return self._entry(method, target) is not None

    def answer(self, method: str, target: str, origin: str) -> web.Response | None:
        """The document that was last kept for this request; None if there is none.

        :param origin: where the client sees the guard
        """
        entry = self._entry(method, target)
        if entry is None:
            return None
        return answers.version_document(entry.status, discovery.attach(entry.document, origin))

    def linked(self, target: str) -> list[str]:
        """Where else at the upstream the document kept for *target* points to documents."""
        entry = self._entry("GET", target)
        if entry is None:
            return []
        hrefs = {link["href"] for link in discovery.links(entry.document)}
        return sorted(
            href for href in hrefs if href.startswith("/") and self._key(href) is not None
        )

    def _entry(self, method: str, target: str) -> cache.Entry | None:
        key = self._key(target) if method == "GET" else None
        return None if key is None else self._cache.get(key)

    def _key(self, target: str) -> str | None:
        return discovery.key(target, self._upstream.path)
