# SPDX-License-Identifier: Apache-2.0
"""Takes out of a message what no operator's terminal or ticket should hold.

Judged by the names of keys, at any depth, also inside texts that are JSON themselves: names differ
between services and releases, so a part of a name is enough. What is taken out is too much rather
than too little.
"""

import json
import re
from typing import Any

from oslo_utils import strutils

HIDDEN = "***"
_PARTS = (
    "token",
    "password",
    "passwd",
    "passphrase",
    "adminpass",
    "newpass",
    "secret",
    "credential",
    "privatekey",
    "authkey",
    "servicecatalog",
    "userdata",
    "injectedfile",
    "personality",
    "filecontent",
    "configdrive",
    "connectioninfo",
    "authorization",
    "trustid",
    "trusts",
)
_WHOLE = frozenset({"trust", "catalog", "files", "pw"})
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]")


def scrub(value: Any) -> Any:
    """Return a copy of parsed JSON with the values of telling keys replaced."""
    if isinstance(value, dict):
        return {key: _hide(each) if is_secret(key) else scrub(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(each) for each in value]
    if isinstance(value, str):
        return _scrub_text(value)
    return value


def is_secret(key: object) -> bool:
    """Tell whether the value under a key of this name is not to be shown."""
    name = _NOT_IN_A_NAME.sub("", str(key).lower())
    return name in _WHOLE or any(part in name for part in _PARTS)


def text(reason: str) -> str:
    """Return a text for people, such as a reason, with what looks like a password replaced."""
    masked: str = strutils.mask_password(reason, secret=HIDDEN)
    return masked


def _hide(value: Any) -> Any:
    # That there is none is no secret, and often what one looks for.
    return value if value is None or value in ("", [], {}) else HIDDEN


def _scrub_text(value: str) -> str:
    if value[:1] in ("{", "["):
        try:
            parsed = json.loads(value)
        except ValueError:
            return text(value)
        return json.dumps(scrub(parsed))
    return text(value)
