# SPDX-License-Identifier: Apache-2.0
"""What is kept of one upstream, in memory and in a file that outlives the process."""

import collections.abc
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
from nova_edge_bus.rest_guard import errors

_log = logging.getLogger(__name__)

MAX_ENTRIES = 32
_MAX_FILE_BYTES = 8 * 1024 * 1024
_FORMAT = 1

Entry = dict[str, typing.Any]


class Cache:
    """Keeps at most :data:`MAX_ENTRIES` JSON objects by key; the one kept longest makes room.

    A file that cannot be read or is not what this class writes is ignored and later replaced. A
    crash leaves the file as it was or as it was to become.

    :param directory: made if missing, for its owner alone
    :param kind: what is kept, in a word that goes into the name of the file and the logs
    :param is_valid: tells of an entry of the file whether it can be used
    :raises RestGuardError: when the directory cannot be made
    """

    def __init__(
        self,
        directory: pathlib.Path,
        upstream: addresses.Upstream,
        kind: str,
        is_valid: collections.abc.Callable[[Entry], bool],
    ) -> None:
        self._url = upstream.url
        self._kind = kind
        self._path = directory / f"{_readable(upstream.url)}.{kind}.json"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise errors.RestGuardError(
                f"cannot keep {kind} in {directory}: {exc.strerror}; choose another directory "
                "with --cache-dir"
            ) from None
        self._entries = self._load(is_valid)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """The entry last put under *key*; not to be changed."""
        return self._entries.get(key)

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, on the disk too when this returns.

        If the disk refuses, the entry is kept in memory alone and the log says so.
        """
        if self._entries.get(key) == entry:
            return
        if key not in self._entries and len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = entry
        self._store()

    def drop(self, key: str) -> None:
        """Keep nothing under *key* any more; on the disk as with :meth:`put`."""
        if self._entries.pop(key, None) is not None:
            self._store()

    def _load(self, is_valid: collections.abc.Callable[[Entry], bool]) -> dict[str, Entry]:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES)
            stored = json.loads(content)
            if stored["format"] != _FORMAT or stored["upstream"] != self._url:
                raise ValueError("another format, or another upstream's")
            entries = dict(stored["entries"])
            if len(entries) > MAX_ENTRIES or not all(map(is_valid, entries.values())):
                raise ValueError("entries that this version does not write")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as exc:
            _log.warning("ignoring the %s in %s: %r", self._kind, self._path, exc)
            return {}
        return entries

    def _store(self) -> None:
        try:
            self._write()
        except OSError as exc:
            _log.warning("cannot keep %s in %s: %s", self._kind, self._path, exc.strerror)

    def _write(self) -> None:
        content = {"format": _FORMAT, "upstream": self._url, "entries": self._entries}
        handle, name = tempfile.mkstemp(prefix=".", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(content, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync_directory(self._path.parent)


def _readable(url: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", url.partition("://")[2])[:100]
    return f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def _sync_directory(directory: pathlib.Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
