# SPDX-License-Identifier: Apache-2.0
"""What a session has said of late, so that a packet need not say it again.

The messages of one host repeat themselves: the ids of its servers, its names, the same context
with each call. No dictionary made beforehand can know those; what went over the same session just
now holds them. So both sides keep the end of it, in each direction, and a packet may be compressed
with that as its dictionary.
"""

SIZE = 8192
"""Bytes that this side offers to keep for each direction of a session.

What an endpoint keeps for 40,000 sessions is then 625 MiB at most.
"""


class History:
    """The end of the unpacked payloads that went one way.

    :param size: bytes to keep
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.text = b""
        """What is kept, the latest last."""

    def remember(self, payload: bytes | memoryview) -> None:
        """Append what the next packets may refer to; what is older than the size is forgotten."""
        room = self._size - len(payload)
        if room <= 0:
            self.text = bytes(payload[-self._size :])
        else:
            self.text = b"".join((self.text[-room:], payload))


def of(size: int) -> History | None:
    """A new history of one direction, if the two sides have agreed on one."""
    return History(size) if size else None
