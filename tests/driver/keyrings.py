# SPDX-License-Identifier: Apache-2.0
"""The keys of a small cloud: an endpoint's, and those of peers that it has enrolled."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import time
from typing import Any

from nova_edge_bus.keys import credentials
from nova_edge_bus.keys import enrolment
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import identity


class Keyring:
    """An endpoint's directory of keys; each peer gets one of its own beside it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._root = directory
        self.endpoint_dir = directory / "of-endpoint"
        self.enrolled.mkdir(parents=True)
        self.new_endpoint_key()

    @property
    def enrolled(self) -> pathlib.Path:
        """Where the clients' files lie."""
        return self.endpoint_dir / enrolment.DIRECTORY

    @property
    def endpoint_key(self) -> bytes:
        """The endpoint's public key."""
        return files.read_pair(self.endpoint_dir / "endpoint.key").public

    def new_endpoint_key(self) -> None:
        """Give the endpoint another key for its next start."""
        for name in ("endpoint.key", "endpoint.pub"):
            (self.endpoint_dir / name).unlink(missing_ok=True)
        files.write_pair(self.endpoint_dir, "endpoint", files.generate())

    def peer(
        self, host: str, role: str = "compute", name: str = "", **enrolled: Any
    ) -> dict[str, Any]:
        """Make and enrol the key of a peer; the options and the host that make it use it."""
        options = self.stranger(host, name or host)
        public = files.read_pair(pathlib.Path(options["curve_dir"], "peer.key")).public
        self.enroll(public, host, role, **enrolled)
        prog = "nova-compute" if role == "compute" else "nova-conductor"
        return {**options, "host": host, "prog": prog, "autonomy": "off"}

    def enroll(self, public: bytes, host: str, role: str = "compute", **enrolled: Any) -> None:
        """Enrol a public key."""
        who = identity.Identity(host, identity.Role(role))
        enrolment.write(self.enrolled, enrolment.Enrolled(public, who, **enrolled))

    def stranger(self, host: str, name: str = "") -> dict[str, Any]:
        """Make a key that nobody has enrolled, and let it know the endpoint's."""
        directory = self._root / f"of-{name or host}"
        files.write_pair(directory, "peer", files.generate())
        self.trust(directory)
        return {"curve_dir": str(directory)}

    def trust(self, directory: pathlib.Path, name: str = "endpoint") -> None:
        """Lay down the endpoint's public key, as it is now, at a peer."""
        trusted = directory / credentials.TRUSTED
        trusted.mkdir(exist_ok=True)
        shutil.copy(self.endpoint_dir / "endpoint.pub", trusted / f"{name}.pub")

    def key_of(self, options: dict[str, Any]) -> bytes:
        """The public key of a peer with these options."""
        return files.read_pair(pathlib.Path(options["curve_dir"], "peer.key")).public

    def revoke_key(self, public: bytes) -> None:
        """Revoke a public key, as the command does."""
        path = enrolment.path_of(self.enrolled, public)
        revoked = dataclasses.replace(enrolment.read(path), revoked=time.time())
        enrolment.write(self.enrolled, revoked)
