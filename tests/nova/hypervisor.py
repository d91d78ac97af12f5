# SPDX-License-Identifier: Apache-2.0
"""The make-believe hypervisor of one compute host: a directory with one JSON file per domain.

The virt driver in nova-compute and the test both work on the directory, so a domain outlives
nova-compute, and a test can change it behind nova's back as a crash of the guest would.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator

RUNNING = 1
PAUSED = 3
SHUTDOWN = 4
CRASHED = 6
SUSPENDED = 7


@dataclasses.dataclass(frozen=True)
class Domain:
    """A guest as the hypervisor knows it; `state` is one of nova.compute.power_state's numbers."""

    uuid: str
    name: str
    state: int


class Hypervisor:
    """The domains of one host.

    Every change is one rename: a reader sees the old file or the new one.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        """Use the directory, which is made if need be."""
        self._domains = directory / "domains"
        self._delays = directory / "delays.json"
        self._domains.mkdir(parents=True, exist_ok=True)

    def domains(self) -> dict[str, Domain]:
        """Return all domains by uuid."""
        return {domain.uuid: domain for domain in self._read_all()}

    def find(self, uuid: str) -> Domain | None:
        """Return the domain, or None where there is none of that uuid."""
        try:
            return Domain(**json.loads(self._path(uuid).read_text()))
        except FileNotFoundError:
            return None

    def define(self, domain: Domain) -> None:
        """Add the domain, or replace the one of the same uuid."""
        _write(self._path(domain.uuid), dataclasses.asdict(domain))

    def set_state(self, uuid: str, state: int) -> None:
        """Put a domain into another power state.

        nova-compute, while it runs, gets a lifecycle event within a moment, as from libvirt. Of
        CRASHED it hears nothing before its next power sync: libvirt has an event for a guest
        that has panicked, and nova's driver does not take it.

        :raises KeyError: when there is no such domain
        """
        domain = self.find(uuid)
        if domain is None:
            raise KeyError(uuid)
        self.define(dataclasses.replace(domain, state=state))

    def undefine(self, uuid: str) -> None:
        """Remove the domain if it is there."""
        self._path(uuid).unlink(missing_ok=True)

    def slow_down(self, **seconds: float) -> None:
        """Make driver methods take longer from now on, by name: slow_down(power_off=5)."""
        _write(self._delays, seconds)

    def delay(self, operation: str) -> float:
        """Return the seconds by which the driver's method is to be slowed."""
        try:
            return float(json.loads(self._delays.read_text()).get(operation, 0))
        except FileNotFoundError:
            return 0.0

    def _path(self, uuid: str) -> pathlib.Path:
        return self._domains / f"{uuid}.json"

    def _read_all(self) -> Iterator[Domain]:
        for path in self._domains.glob("*.json"):
            domain = self.find(path.stem)
            if domain is not None:
                yield domain


def _write(path: pathlib.Path, content: object) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as draft:
        json.dump(content, draft)
    os.replace(draft.name, path)
