# SPDX-License-Identifier: Apache-2.0
"""The numbers of one process, in one place: whoever reports on it reads them here.

Each counts up from 0 since the process began to use the bus, and is counted on one thread alone,
the I/O thread where nothing else is said, so that no lock is needed. Any thread may read them.
"""

import dataclasses


@dataclasses.dataclass(slots=True)
class Figures:
    """What has happened in this process."""

    links_made: int = 0
    """Links to endpoints that came up."""
    links_lost: int = 0
    """Links that went down."""
    cuts: int = 0
    """How often a destination was found cut off."""
    shipped: int = 0
    """Deliveries put on a link, repetitions included."""
    applied: int = 0
    """Records whose outcome came back."""
    accepted: int = 0
    """Commands that a receiver took over."""
    refused: int = 0
    """Records that were answered here and refused at the centre: dead letters."""
    fenced: int = 0
    """Outboxes from which nothing more is shipped: their journal was opened elsewhere since."""
    no_route: int = 0
    """Deliveries that an endpoint gave back because who was to take them was not there."""
    expired: int = 0
    """Entries whose time to live passed."""
    requeued: int = 0
    """Dead letters taken up again at an operator's word."""
    written_here: int = 0
    """Writes that were journaled and answered here; on the journal's thread."""
    read_here: int = 0
    """Reads that the snapshot answered; on the journal's thread."""

    handled: int = 0
    """Deliveries of others that a listener here has handled, whatever came of it."""
    recorded: int = 0
    """Records of others that were applied here, together with their row in the inbox."""
    put_off: int = 0
    """How often a record of others could not be applied yet: the database was in trouble."""
    conflicts: int = 0
    """Records of others that were refused here though their caller had been told of success."""
    denied: int = 0
    """Those among the records refused here whose host does not speak for the object any more."""

    def read(self) -> dict[str, int]:
        """Return every figure by its name."""
        # Not dataclasses.asdict, which copies deeply and takes eight times as long.
        return {name: getattr(self, name) for name in self.__slots__}
