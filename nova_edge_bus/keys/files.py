# SPDX-License-Identifier: Apache-2.0
"""Files of keys: JSON objects, written whole or not at all, secrets for their owner's eyes only.

A key is 32 bytes, in files and options 64 hexadecimal digits, which no shell, URL or templating
language takes for anything else. Its *fingerprint*, by which logs and people name it, is the
first 16 digits of the public key.
"""

import dataclasses
import json
import os
import pathlib
import pwd
import re
import stat
import typing

import zmq
import zmq.utils.z85

from nova_edge_bus import errors

KEY_BYTES = 32
FINGERPRINT_DIGITS = 16
SECRET_SUFFIX = ".key"
PUBLIC_SUFFIX = ".pub"

_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_FILE = 65536
_FORBIDDEN = stat.S_IRWXO | stat.S_IWGRP
"""A group may be let read a secret; others nothing."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A public key and the secret one that belongs to it, each of 32 bytes."""

    public: bytes
    secret: bytes = dataclasses.field(repr=False)


def fingerprint(public: bytes) -> str:
    """The 16 digits that stand for a public key in logs and file names."""
    return public.hex()[:FINGERPRINT_DIGITS]


def parse_key(text: object, what: str) -> bytes:
    """Read a key of 64 hexadecimal digits.

    :param what: where it stands, for the error
    :raises KeyFileError: when it is something else
    """
    lowered = text.lower() if isinstance(text, str) else ""
    if not _HEX.fullmatch(lowered):
        raise errors.KeyFileError(f"{what} is not a key of {2 * KEY_BYTES} hexadecimal digits")
    return bytes.fromhex(lowered)


def generate() -> Pair:
    """Make a new pair from the system's randomness."""
    public, secret = zmq.curve_keypair()
    return Pair(zmq.utils.z85.decode(public), zmq.utils.z85.decode(secret))


def paths_of(directory: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Where the secret and the public half of the pair *name* lie.

    :raises KeyFileError: when *name* is no plain file name
    """
    if not _NAME.fullmatch(name):
        raise errors.KeyFileError(
            f"{name!r} cannot name a key: use letters, digits, '.', '_' and '-'"
        )
    return directory / (name + SECRET_SUFFIX), directory / (name + PUBLIC_SUFFIX)


def check_free(directory: pathlib.Path, name: str) -> None:
    """Check that no file of the pair *name* is there.

    :raises KeyFileError: when one is
    """
    for path in paths_of(directory, name):
        if path.exists() or path.is_symlink():
            raise errors.KeyFileError(
                f"will not overwrite {path}; choose another name, or move the old pair away"
            )


def write_pair(directory: pathlib.Path, name: str, pair: Pair, owner: str = "") -> None:
    """Write both halves, with modes 0600 and 0644, in a directory that is made with mode 0700.

    A crash leaves nothing, or a secret without its public half, which holds the public key as
    well.

    :param owner: the user that they then belong to; empty for the caller
    :raises KeyFileError: when a file is there already or cannot be written
    """
    check_free(directory, name)
    secret, public = paths_of(directory, name)
    make_directory(directory, owner)
    texts = {"public_key": pair.public.hex(), "secret_key": pair.secret.hex()}
    write(secret, texts, mode=0o600, owner=owner, replace=False)
    write(public, {"public_key": texts["public_key"]}, mode=0o644, owner=owner, replace=False)


def make_directory(directory: pathlib.Path, owner: str = "") -> None:
    """Make a directory of keys with mode 0700; one that is there is left as it is.

    :raises KeyFileError: when it cannot be made
    """
    try:
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True)
            _give_to(directory, owner)
    except OSError as error:
        raise _cannot("make", directory, error) from None


def write(
    path: pathlib.Path,
    content: dict[str, typing.Any],
    *,
    mode: int,
    owner: str = "",
    replace: bool = True,
) -> None:
    """Put a file in its place, whole or not at all, and on the disk.

    :raises KeyFileError: when it cannot be written, or is there and not to be replaced
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, mode)
                _give_to(fresh, owner)
                file.write(json.dumps(content, indent=2) + "\n")
                file.flush()
                os.fsync(descriptor)
            if replace:
                os.replace(fresh, path)
            else:
                os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot("write", path, error) from None


def read_pair(path: pathlib.Path) -> Pair:
    """Read a secret key file.

    :raises KeyFileError: when it cannot be read, is no pair, or others may read or write it
    """
    mode = _stat(path).st_mode
    if mode & _FORBIDDEN:
        raise errors.KeyFileError(
            f"will not use secret key {path}: its mode {stat.S_IMODE(mode):04o} lets others at "
            f"it; run 'chmod 0600 {path}'"
        )
    content = read(path)
    secret = parse_key(content.get("secret_key"), f"secret_key of {path}")
    public = parse_key(content.get("public_key"), f"public_key of {path}")
    if zmq.utils.z85.decode(zmq.curve_public(zmq.utils.z85.encode(secret))) != public:
        raise errors.KeyFileError(f"the two keys of {path} do not belong together")
    return Pair(public, secret)


def read(path: pathlib.Path) -> dict[str, typing.Any]:
    """Read a file that holds one JSON object.

    :raises KeyFileError: when it cannot be read or is something else
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.loads(file.read(_MAX_FILE))
    except OSError as error:
        raise _cannot("read", path, error) from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise errors.KeyFileError(f"{path} is not a JSON object")
    return content


def _stat(path: pathlib.Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _cannot("read", path, error) from None


def _give_to(path: pathlib.Path, owner: str) -> None:
    if owner:
        try:
            entry = pwd.getpwnam(owner)
        except KeyError:
            raise errors.KeyFileError(f"there is no user {owner!r} on this host") from None
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _cannot(do: str, path: pathlib.Path, error: OSError) -> errors.KeyFileError:
    return errors.KeyFileError(f"cannot {do} {path}: {error.strerror}")
