# SPDX-License-Identifier: Apache-2.0
"""How a receiver meets the journal and the mailboxes of its process in the model world."""

from typing import TYPE_CHECKING

from nova_edge_bus.delivery import origins
from nova_edge_bus.protocol import messages

if TYPE_CHECKING:
    from tests.unit.delivery import process as processes

MAILBOX = 4


class ReceiverPort:
    """The receiver's port of a process."""

    def __init__(self, process: "processes.Process") -> None:
        self._process = process
        self._journal = process.journal

    def transmit(self, via: object, message: messages.Message) -> None:
        self._process.transmit(via, message)

    def accept(self, item: origins.Inbound) -> None:
        def then(fresh: bool) -> None:
            self._process.receiver.accepted(item, fresh=fresh)

        def run() -> bool:
            fresh = self._journal.accept(item)
            if fresh:
                self._process.ledger.accepted(item, self._journal.outbox_id)
            return fresh

        self._journal.submit(run, then)

    def withdraw(self, item: origins.Inbound) -> None:
        def run() -> None:
            self._journal.withdraw(item)
            self._process.ledger.withdrawn(item, self._journal.outbox_id)

        self._journal.submit(run, lambda result: self._process.receiver.withdrawn(item))

    def dispatch(self, item: origins.Inbound) -> None:
        self._process.mailboxes[item.listener].append(item)

    def is_crowded(self, listener: int, identity: str) -> bool:
        return len(self._process.mailboxes[listener]) >= MAILBOX

    def forget(self, origin: bytes, address: str, floor: int) -> None:
        self._journal.lazily(
            lambda: self._journal.forget(origin, address, floor), lambda result: None
        )
