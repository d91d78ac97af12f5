# SPDX-License-Identifier: Apache-2.0
"""What a peer needs to dial an endpoint: its own pair, and the endpoint's public key.

Everything is read anew at each dial, so that a key which is laid down beside the old one is used
without a restart.
"""

import dataclasses
import pathlib
from collections.abc import Iterator

from nova_edge_bus import errors
from nova_edge_bus import settings as settings_module
from nova_edge_bus.keys import files

ENDPOINT_NAME = "endpoint"
TRUSTED = "endpoints"
"""The directory of the endpoints' public keys, at a peer."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """A peer's own pair, and the keys that an endpoint may have, the likeliest first."""

    own: files.Pair
    servers: tuple[bytes, ...]


def load(settings: settings_module.Settings, address: str) -> Credentials | None:
    """What to dial *address* with; None to dial it unencrypted.

    :raises KeyFileError: when a file cannot be used
    :raises ConfigurationError: when something is missing, and the connection would leave this
        machine unencrypted without leave
    """
    host = settings_module.hostname_of(address)
    own_path = pathlib.Path(settings.curve_dir, settings.curve_key_file)
    own = files.read_pair(own_path) if _exists(own_path) else None
    servers = _servers(settings, host)
    if own is not None and servers:
        return Credentials(own, servers)
    if settings_module.is_loopback(host) or settings.allow_insecure:
        return None
    if own is None:
        missing = f"there is no {own_path}; make it with 'nova-edge-bus keys new'"
    else:
        missing = (
            f"its public key is neither in {pathlib.Path(settings.curve_dir, TRUSTED)} nor in "
            "[edge_bus] curve_server_keys"
        )
    raise errors.ConfigurationError(
        f"the connection to endpoint {host} would not be encrypted: {missing}; or set [edge_bus] "
        "allow_insecure on a network you trust"
    )


def load_endpoint(directory: pathlib.Path) -> files.Pair | None:
    """An endpoint's own pair; None when it has none.

    :raises KeyFileError: when the file cannot be used
    """
    path, _ = files.paths_of(directory, ENDPOINT_NAME)
    return files.read_pair(path) if _exists(path) else None


def parse_server_key(text: str) -> tuple[str, bytes]:
    """Read one of ``curve_server_keys``: the host it is for, empty for all, and the key.

    :raises KeyFileError: when it is something else
    """
    host, _, key = text.strip().rpartition("=")
    return host, files.parse_key(key, f"{text!r} in [edge_bus] curve_server_keys")


def _servers(settings: settings_module.Settings, host: str) -> tuple[bytes, ...]:
    """The keys for *host*, those that name it before those that name none."""
    configured = [parse_server_key(text) for text in settings.curve_server_keys]
    known = configured or list(_trusted(pathlib.Path(settings.curve_dir, TRUSTED)))
    own = [key for named, key in known if named == host]
    return tuple(dict.fromkeys([*own, *(key for named, key in known if not named)]))


def _trusted(directory: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    if not _exists(directory):
        return
    for path in sorted(directory.glob(f"*{files.PUBLIC_SUFFIX}")):
        content = files.read(path)
        key = files.parse_key(content.get("public_key"), f"public_key of {path}")
        yield str(content.get("host") or ""), key


def _exists(path: pathlib.Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise errors.KeyFileError(f"cannot read {path}: {error.strerror}") from None
