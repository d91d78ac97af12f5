# SPDX-License-Identifier: Apache-2.0
"""A virt driver for nova whose domains live in files: see tests.nova.hypervisor.

Derived from nova's FakeDriver, which keeps its domains in memory and names its node anew in every
process, so that a restarted nova-compute refuses to start.
"""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import MutableMapping
from typing import Any

import nova.conf
from nova.virt import event as virt_event
from nova.virt import fake
from nova.virt import node

from tests.nova import hypervisor

CONF = nova.conf.CONF
DIRECTORY = "hypervisor"
_WATCH_SECONDS = 0.2
_LIFECYCLE_EVENTS = {
    hypervisor.RUNNING: virt_event.EVENT_LIFECYCLE_STARTED,
    hypervisor.PAUSED: virt_event.EVENT_LIFECYCLE_PAUSED,
    hypervisor.SHUTDOWN: virt_event.EVENT_LIFECYCLE_STOPPED,
    hypervisor.SUSPENDED: virt_event.EVENT_LIFECYCLE_SUSPENDED,
}
_CAN_BE_SLOWED = (
    "spawn",
    "destroy",
    "power_on",
    "power_off",
    "reboot",
    "pause",
    "unpause",
    "suspend",
    "resume",
    "snapshot",
    "live_migration",
    "migrate_disk_and_power_off",
    "finish_migration",
)


class _Guest:
    """What FakeDriver keeps for an instance; setting `state` reaches the hypervisor."""

    def __init__(self, guests: _Guests, domain: hypervisor.Domain) -> None:
        self._guests = guests
        self._domain = domain
        self.name = domain.name

    @property
    def state(self) -> int:
        return self._domain.state

    @state.setter
    def state(self, state: int) -> None:
        self._guests.define(hypervisor.Domain(self._domain.uuid, self.name, state))


class _Guests(MutableMapping[str, Any]):
    """FakeDriver's dictionary of instances, kept by the hypervisor."""

    def __init__(self, host: hypervisor.Hypervisor) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._seen = host.domains()

    def __getitem__(self, uuid: str) -> _Guest:
        domain = self._host.find(uuid)
        if domain is None:
            raise KeyError(uuid)
        return _Guest(self, domain)

    def __setitem__(self, uuid: str, guest: Any) -> None:
        self.define(hypervisor.Domain(uuid, guest.name, guest.state))

    def __delitem__(self, uuid: str) -> None:
        with self._lock:
            self._seen.pop(uuid, None)
            self._host.undefine(uuid)

    def __iter__(self) -> Iterator[str]:
        return iter(self._host.domains())

    def __len__(self) -> int:
        return len(self._host.domains())

    def define(self, domain: hypervisor.Domain) -> None:
        """Add or change a domain on nova's behalf: no lifecycle event is due."""
        with self._lock:
            self._seen[domain.uuid] = domain
            self._host.define(domain)

    def changed_behind_nova(self) -> list[hypervisor.Domain]:
        """Return the domains whose state another has changed since the last call."""
        with self._lock:
            before, self._seen = self._seen, self._host.domains()
            return [
                domain
                for uuid, domain in self._seen.items()
                if uuid in before and before[uuid].state != domain.state
            ]


class _FileBackedDriver(fake.FakeDriverWithoutFakeNodes):  # type: ignore[misc]
    """FakeDriver with files for a memory, a node identity that lasts, and lifecycle events."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        self._hypervisor = hypervisor.Hypervisor(pathlib.Path(CONF.state_path) / DIRECTORY)
        self.instances = _Guests(self._hypervisor)
        self._stopped = threading.Event()

    def init_host(self, host: str) -> None:
        super().init_host(host)
        node.get_local_node_uuid()
        threading.Thread(target=self._watch, name="hypervisor-watch", daemon=True).start()

    def cleanup_host(self, host: str) -> None:
        self._stopped.set()
        super().cleanup_host(host)

    def pause(self, instance: Any) -> None:
        self.instances[instance.uuid].state = hypervisor.PAUSED

    def unpause(self, instance: Any) -> None:
        self.instances[instance.uuid].state = hypervisor.RUNNING

    def suspend(self, context: Any, instance: Any) -> None:
        self.instances[instance.uuid].state = hypervisor.SUSPENDED

    def resume(self, context: Any, instance: Any, network_info: Any, **options: Any) -> None:
        self.instances[instance.uuid].state = hypervisor.RUNNING

    def migrate_disk_and_power_off(
        self, context: Any, instance: Any, *args: Any, **options: Any
    ) -> None:
        self.instances[instance.uuid].state = hypervisor.SHUTDOWN

    def post_live_migration(self, context: Any, instance: Any, *args: Any, **options: Any) -> None:
        """Forget the guest at the source, which FakeDriver leaves there."""
        self.destroy(context, instance, network_info=None)

    def _watch(self) -> None:
        while not self._stopped.wait(_WATCH_SECONDS):
            for domain in self.instances.changed_behind_nova():
                transition = _LIFECYCLE_EVENTS.get(domain.state)
                if transition is not None:
                    self.emit_event(virt_event.LifecycleEvent(domain.uuid, transition))


class PersistentFakeDriver(_FileBackedDriver):
    """The driver to configure; its methods take as long as the hypervisor's delays say."""


def _slowed(name: str) -> Callable[..., Any]:
    undelayed = getattr(_FileBackedDriver, name)

    def method(self: PersistentFakeDriver, *args: Any, **options: Any) -> Any:
        time.sleep(self._hypervisor.delay(name))
        return undelayed(self, *args, **options)

    return method


for _name in _CAN_BE_SLOWED:
    setattr(PersistentFakeDriver, _name, _slowed(_name))
