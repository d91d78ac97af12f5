# SPDX-License-Identifier: Apache-2.0
"""The directory of enrolled clients: one file a key, named by its fingerprint.

The name makes a lookup one ``open()``, however many are enrolled, so what a file says holds from
the next handshake on.
"""

import dataclasses
import datetime
import pathlib
import re
import typing
from collections.abc import Iterator

from nova_edge_bus import errors
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import identity

DIRECTORY = "enrolled"
_HOST = re.compile(r"[!-.0-~]{1,255}")
"""Anything printable but a blank and a slash."""


@dataclasses.dataclass(frozen=True, slots=True)
class Enrolled:
    """One client key, who it belongs to, and until when; both times are wall clock seconds."""

    public: bytes
    identity: identity.Identity
    expires: float | None = None
    revoked: float | None = None

    @property
    def fingerprint(self) -> str:
        """The digits that stand for the key."""
        return files.fingerprint(self.public)

    def objection(self, now: float) -> str:
        """Why the key does not admit anybody at *now*; empty when it does."""
        if self.revoked is not None:
            return f"was revoked at {moment(self.revoked)}"
        if self.expires is not None and now >= self.expires:
            return f"expired at {moment(self.expires)}"
        return ""


def path_of(directory: pathlib.Path, public: bytes) -> pathlib.Path:
    """Where the file of a client key lies."""
    return directory / (files.fingerprint(public) + files.PUBLIC_SUFFIX)


def read(path: pathlib.Path) -> Enrolled:
    """Read one file.

    :raises KeyFileError: when it cannot be read, or does not say what it must
    """
    content = files.read(path)
    known = {"public_key", "host", "role", "expires", "revoked"}
    if unknown := content.keys() - known:
        raise errors.KeyFileError(f"{path} has unknown fields: {', '.join(sorted(unknown))}")
    enrolled = Enrolled(
        files.parse_key(content.get("public_key"), f"public_key of {path}"),
        identity_of(content.get("host"), content.get("role"), str(path)),
        _seconds(content, "expires", path),
        _seconds(content, "revoked", path),
    )
    if path.name != enrolled.fingerprint + files.PUBLIC_SUFFIX:
        raise errors.KeyFileError(
            f"{path} must be named {enrolled.fingerprint}{files.PUBLIC_SUFFIX}, by its key"
        )
    return enrolled


def write(directory: pathlib.Path, enrolled: Enrolled) -> pathlib.Path:
    """Enrol a key, or replace what its file says; return the file.

    :raises KeyFileError: when it cannot be written
    """
    content: dict[str, typing.Any] = {
        "public_key": enrolled.public.hex(),
        "host": enrolled.identity.host,
        "role": enrolled.identity.role.value,
    }
    for name, when in (("expires", enrolled.expires), ("revoked", enrolled.revoked)):
        if when is not None:
            content[name] = moment(when)
    files.make_directory(directory)
    path = path_of(directory, enrolled.public)
    # The endpoint, which may run as another user, has to read it; nothing in it is secret.
    files.write(path, content, mode=0o644)
    return path


def read_all(directory: pathlib.Path) -> Iterator[Enrolled | errors.KeyFileError]:
    """Yield what each file of the directory says, or what is wrong with it.

    :raises KeyFileError: when the directory cannot be read
    """
    try:
        found = sorted(directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise errors.KeyFileError(f"cannot read {directory}: {error.strerror}") from None
    for path in found:
        if path.suffix == files.PUBLIC_SUFFIX and not path.name.startswith("."):
            try:
                yield read(path)
            except errors.KeyFileError as error:
                yield error


def identity_of(host: object, role: object, where: str) -> identity.Identity:
    """Check a host and a role.

    :param where: where they stand, for the error
    :raises KeyFileError: when one of them cannot be what it says
    """
    if not isinstance(host, str) or not _HOST.fullmatch(host):
        raise errors.KeyFileError(f"{where}: {host!r} is not the name of a host")
    try:
        return identity.Identity(host, identity.Role(role))
    except ValueError:
        names = ", ".join(each.value for each in identity.Role)
        raise errors.KeyFileError(f"{where}: role {role!r} is not one of {names}") from None


def moment(seconds: float) -> str:
    """Wall clock seconds as ISO 8601 in UTC, to the second."""
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(content: dict[str, typing.Any], name: str, path: pathlib.Path) -> float | None:
    text = content.get(name)
    if text is None:
        return None
    try:
        when = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        when = None
    if when is None or when.tzinfo is None:
        raise errors.KeyFileError(
            f"{name} of {path} is no time with an offset, such as 2027-01-31T00:00:00Z"
        )
    return when.timestamp()
