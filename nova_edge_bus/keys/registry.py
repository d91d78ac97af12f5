# SPDX-License-Identifier: Apache-2.0
"""Whom an endpoint admits now: the enrolled files as they are at this moment."""

import pathlib
import time

from nova_edge_bus import errors
from nova_edge_bus.keys import enrolment
from nova_edge_bus.protocol import identity

_Version = tuple[int, int, int]


class Registry:
    """Answers from the files; one that has not changed is not read again.

    :param directory: the directory of keys, in which the enrolled clients have their own
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory / enrolment.DIRECTORY
        self._read: dict[bytes, tuple[_Version, enrolment.Enrolled]] = {}

    def look_up(self, public: bytes) -> tuple[identity.Identity | None, str]:
        """Who holds this key, or none and why nobody is admitted with it."""
        path = enrolment.path_of(self.directory, public)
        try:
            found = path.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = self._read.get(public)
            if known is None or known[0] != version:
                known = self._read[public] = (version, enrolment.read(path))
        except FileNotFoundError:
            self._read.pop(public, None)
            return None, "is not enrolled"
        except OSError as error:
            return None, f"cannot be looked up: {path}: {error.strerror}"
        except errors.KeyFileError as error:
            return None, f"cannot be looked up: {error}"
        enrolled = known[1]
        objection = enrolled.objection(time.time())
        if enrolled.public != public:
            objection = f"is not enrolled; {path.name} holds another with the same fingerprint"
        return (None, objection) if objection else (enrolled.identity, "")

    def version(self) -> int | None:
        """A number that changes with each file that is added, replaced or taken away.

        None when the directory is not there or cannot be read.
        """
        try:
            return self.directory.stat().st_mtime_ns
        except OSError:
            return None
