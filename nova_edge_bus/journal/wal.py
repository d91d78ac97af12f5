# SPDX-License-Identifier: Apache-2.0
"""Whether a WAL has changed on the disk; SQLite itself takes damage for the WAL's end.

SQLite reads the frames of a WAL up to the first whose checksum is wrong, and what was committed
after that is gone without a word. A crash amid a commit leaves such a frame too, but nothing that
was committed after it: a commit begins when the one before it is on the disk, and a journal begins
its WAL anew when it is opened and after a sync that has failed. So a frame that ends a transaction
behind a wrong one tells damage from a crash. The format is described in sqlite.org/fileformat2.
"""

import io
import os
import shutil
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from nova_edge_bus import concurrency

LOG = concurrency.NativeLogger(__name__)

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_LITTLE_ENDIAN, _BIG_ENDIAN = 0x377F0682, 0x377F0683
_MASK = 0xFFFFFFFF


class Damage(NamedTuple):
    """Where a WAL is damaged.

    :param frame: the first that is not as it was written, from 1; 0 is the header
    :param frames: how many there are
    :param commits: how many transactions end in the damaged frame or after it; None when the
        header, which would tell, is damaged
    """

    frame: int
    frames: int
    commits: int | None

    @property
    def may_be_a_crash(self) -> bool:
        """Whether a power cut amid a commit that had not returned can have done it."""
        return self.commits == 1

    def __str__(self) -> str:
        if self.commits is None:
            return f"the header of its WAL has changed; all of its {self.frames} frames are lost"
        text = f"frame {self.frame} of {self.frames} of its WAL is not as it was written"
        if self.may_be_a_crash:
            return (
                f"{text}; the last commit is lost, which is in order only if the power "
                "failed amid it"
            )
        return f"{text}; {self.commits} commits from there on are lost"


def damage(path: str) -> Damage | None:
    """Look for damage in the WAL of the journal at *path*, which no process writes meanwhile.

    :raises OSError: when it cannot be read
    """
    try:
        with io.FileIO(path + "-wal") as file:
            data = memoryview(file.readall())
    except FileNotFoundError:
        return None
    if len(data) < _HEADER.size or not any(data[: _HEADER.size]):
        return None
    magic, _, page_size, _, *salts, first, second = _HEADER.unpack_from(data)
    order = {_LITTLE_ENDIAN: "<", _BIG_ENDIAN: ">"}.get(magic, "<")
    sums = _checksum(data[:24], order, (0, 0))
    size = _FRAME.size + page_size
    if magic not in (_LITTLE_ENDIAN, _BIG_ENDIAN) or sums != (first, second):
        return Damage(0, (len(data) - _HEADER.size) // size, None)
    frames = [data[at : at + size] for at in range(_HEADER.size, len(data) - size + 1, size)]
    for number, frame in enumerate(frames):
        page, _, *its_salts, first, second = _FRAME.unpack_from(frame)
        sums = _checksum(frame[_FRAME.size :], order, _checksum(frame[:8], order, sums))
        is_sound = sums == (first, second)
        if not is_sound or its_salts != salts or not page:
            commits = sum(_commits(frames[number:], salts, first_is_ours=is_sound))
            return Damage(number + 1, len(frames), commits) if commits else None
    return None


def keep_copy(path: str) -> str:
    """Copy the WAL of the journal at *path* beside it, and return the copy's name.

    :raises OSError: when that cannot be done
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    copy = f"{path}.damaged-wal-{stamp}"
    shutil.copy(path + "-wal", copy)
    os.chmod(copy, 0o600)
    return copy


def _commits(frames: list[memoryview], salts: list[int], *, first_is_ours: bool) -> Iterator[bool]:
    """Whether a transaction ends with them, of each frame that belongs to this WAL.

    Frames of the WAL's earlier rounds follow, under other salts.

    :param first_is_ours: the first one's bytes fit to the frame before it, whatever its salts are
    """
    for number, frame in enumerate(frames):
        _, database_pages, *its_salts, _, _ = _FRAME.unpack_from(frame)
        if its_salts != salts and (number or not first_is_ours):
            # What is flipped in the first may be its salts alone; the others then show.
            if number:
                return
            continue
        yield database_pages != 0


def _checksum(data: memoryview, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second


def tell_damage(path: str) -> None:
    """Log what SQLite will pass over in silence, and keep it for whoever looks into it."""
    found = None
    try:
        found = damage(path)
        if found is None:
            return
        kept = f"a copy is kept as {keep_copy(path)}"
    except OSError as error:
        LOG.warning("cannot look at or copy the WAL of journal %s: %s", path, error)
        if found is None:
            return
        kept = "no copy could be kept"
    tell = LOG.warning if found.may_be_a_crash else LOG.error
    tell("journal %s: %s; %s", path, found, kept)
