# SPDX-License-Identifier: Apache-2.0
"""The version documents of one upstream, in memory and in a file that outlives the process."""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import re
import tempfile
import typing

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import discovery
from nova_edge_bus.rest_guard import errors

_log = logging.getLogger(__name__)

MAX_DOCUMENTS = 32
_MAX_FILE_BYTES = 2 * MAX_DOCUMENTS * discovery.MAX_BYTES
_FORMAT = 1
STATUSES = (200, 300)
"""With which a version document is served."""


class Entry(typing.NamedTuple):
    """A document as it was served, its links to the upstream without their host."""

    status: int
    document: discovery.Document


class DiscoveryCache:
    """Keeps at most :data:`MAX_DOCUMENTS` documents; the one kept longest makes room.

    A file that cannot be read or is not what this class writes is ignored and later replaced. A
    crash leaves the file as it was or as it was to become.

    :param directory: made if missing, for its owner alone
    :raises RestGuardError: when the directory cannot be made
    """

    def __init__(self, directory: pathlib.Path, upstream: addresses.Upstream) -> None:
        self._upstream = upstream
        self._path = directory / _file_name(upstream.url)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise errors.RestGuardError(
                f"cannot keep version documents in {directory}: {exc.strerror}; choose another "
                "directory with --cache-dir"
            ) from None
        self._entries = self._load()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """The document last put under *key*."""
        return self._entries.get(key)

    def put(self, key: str, entry: Entry) -> None:
        """Keep a document, on the disk too when this returns.

        If the disk refuses, the document is kept in memory alone and the log says so.
        """
        if self._entries.get(key) == entry:
            return
        if key not in self._entries and len(self._entries) >= MAX_DOCUMENTS:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = entry
        try:
            self._store()
        except OSError as exc:
            _log.warning("cannot keep version documents in %s: %s", self._path, exc.strerror)

    def _load(self) -> dict[str, Entry]:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as exc:
            _log.warning("ignoring the version documents in %s: %s", self._path, exc.strerror)
            return {}
        try:
            return _decode(content, self._upstream.url)
        except (ValueError, TypeError, LookupError, RecursionError) as exc:
            _log.warning("ignoring the version documents in %s: %r", self._path, exc)
            return {}

    def _store(self) -> None:
        content = json.dumps(
            {
                "format": _FORMAT,
                "upstream": self._upstream.url,
                "documents": {key: list(entry) for key, entry in self._entries.items()},
            },
            indent=1,
        ).encode()
        handle, name = tempfile.mkstemp(prefix=".", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync_directory(self._path.parent)


def _decode(content: bytes, url: str) -> dict[str, Entry]:
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f"longer than {_MAX_FILE_BYTES} bytes")
    stored = json.loads(content)
    if stored["format"] != _FORMAT or stored["upstream"] != url:
        raise ValueError("another format, or another upstream's")
    entries = {}
    for key, (status, document) in stored["documents"].items():
        if status not in STATUSES or not discovery.is_document(document):
            raise ValueError(f"no version document: {key}")
        entries[key] = Entry(status, document)
    if len(entries) > MAX_DOCUMENTS:
        raise ValueError(f"more than {MAX_DOCUMENTS} documents")
    return entries


def _file_name(url: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", url.partition("://")[2])[:100]
    return f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.json"


def _sync_directory(directory: pathlib.Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
