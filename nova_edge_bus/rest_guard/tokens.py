# SPDX-License-Identifier: Apache-2.0
"""What keystone said about tokens, without the tokens.

keystoneauth asks for a token before it looks for a service, even where ``endpoint_override`` says
where that is, because it wants to know the project's id. nova-compute therefore does not start
while keystone is out of reach, unless somebody repeats what keystone last said to the same
credentials. What is repeated opens no door: the token is not in it, and it is marked as expired,
so that keystoneauth asks anew before each request and has a real one as soon as keystone is back.
"""

import copy
import datetime
import hashlib
import json
import pathlib
import re

from aiohttp import web

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import answers
from nova_edge_bus.rest_guard import cache

MAX_REQUEST_BYTES = 64 * 1024

_REFUSED = (401, 403)
_NO_TOKEN = "nova-edge-bus-keystone-out-of-reach"
_PATH = re.compile(r"(/[^?]*)?/v3/auth/tokens(\?nocatalog)?\Z")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class Tokens:
    """What was said of a token is known by a digest of the credentials that asked for it.

    :raises RestGuardError: when the directory cannot be made
    """

    def __init__(self, directory: pathlib.Path, upstream: addresses.Upstream) -> None:
        self._upstream = upstream
        self._cache = cache.Cache(directory, upstream, "tokens", _is_valid)

    def expected(self, method: str, target: str) -> bool:
        """Tell whether a request asks for a token."""
        return method == "POST" and _PATH.match(target) is not None

    def of(self, target: str, credentials: bytes) -> "Token | None":
        """The token that *credentials*, the body of a request, ask for; None for no JSON."""
        try:
            asked = json.loads(credentials)
        except (ValueError, RecursionError):
            return None
        text = json.dumps([target, asked], sort_keys=True).encode()
        # There is a password in it, which whoever reads the file must not be able to guess.
        digest = hashlib.scrypt(text, salt=self._upstream.url.encode(), n=4096, r=8, p=1, dklen=16)
        return Token(self._cache, digest.hex())


class Token:
    """What is said of one token; see :class:`~nova_edge_bus.rest_guard.known.Known`."""

    max_bytes = 256 * 1024
    patience = True

    def __init__(self, kept: cache.Cache, key: str) -> None:
        self._cache = kept
        self.key = key

    def keep(self, status: int, body: bytes, origin: str) -> None:
        """Keep what was said with a new token; forget it when the credentials are refused."""
        if status in _REFUSED:
            self._cache.drop(self.key)
            return
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            return
        if status == 201 and isinstance(said, dict) and _is_valid(said):
            self._cache.put(self.key, {"token": _without_times(said["token"])})

    def answer(self, origin: str) -> web.Response | None:
        """What was kept, as of a token that has expired just now."""
        entry = self._cache.get(self.key)
        if entry is None:
            return None
        now = datetime.datetime.now(datetime.UTC).strftime(_TIME_FORMAT)
        said = {"token": {**entry["token"], "issued_at": now, "expires_at": now}}
        return answers.stand_in(201, said, {"X-Subject-Token": _NO_TOKEN})


def _without_times(said: cache.Entry) -> cache.Entry:
    # They and the audit ids differ each time, and each change is a write to the disk.
    kept = copy.copy(said)
    for name in ("issued_at", "expires_at", "audit_ids"):
        kept.pop(name, None)
    return kept


def _is_valid(entry: cache.Entry) -> bool:
    token = entry.get("token")
    return isinstance(token, dict) and isinstance(token.get("user"), dict)
