# SPDX-License-Identifier: Apache-2.0
"""Errors of the bus; each message says what failed, on what, with which numbers, and a hint."""


class EdgeBusError(Exception):
    """Base of every error this package raises on its own account."""


class ConfigurationError(EdgeBusError):
    """An option or a transport URL cannot be used as it stands."""


class InputError(EdgeBusError):
    """What a command was pointed at cannot be used: no journal, one of another version, …."""


class KeyFileError(EdgeBusError):
    """A file of keys cannot be read, written, or used as it stands."""


class ProtocolError(EdgeBusError):
    """The other side sent bytes that are not this protocol."""


class MessageTooLarge(EdgeBusError):
    """A message exceeds the largest size that the wire carries."""


class JournalError(EdgeBusError):
    """The journal could not do what was asked of it."""


class JournalFull(JournalError):
    """The journal's byte quota, or the disk beneath it, has no room for the entry."""


class JournalCorrupt(JournalError):
    """The journal file fails SQLite's integrity check."""


class JournalTooNew(JournalError):
    """The journal was written by a newer version of this package."""


class JournalLocked(JournalError):
    """Another live process owns the journal."""


class JournalFenced(JournalError):
    """The journal's process has opened it again since it was copied; the copy is not taken."""


class NotLinked(EdgeBusError):
    """No endpoint is linked, and so nothing can be shipped."""


class CellDatabaseError(EdgeBusError):
    """The database of a nova cell cannot be reached, or its tables cannot be used."""


class Fenced(EdgeBusError):
    """A write comes from a host that does not speak for its object any more; it has not landed.

    :param found: what was there instead, by name; it travels to the writer with the error
    """

    def __init__(self, *args: object, **found: object) -> None:
        super().__init__(*args)
        # The name under which oslo.messaging takes the parameters of an exception along.
        self.kwargs = found
