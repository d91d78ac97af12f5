# SPDX-License-Identifier: Apache-2.0
"""What a power cut leaves: what was synced, and an arbitrary part of what was not."""

from __future__ import annotations

import pathlib
import random

from tests.faults.disk import Record

_PAGE = 4096


class _File:
    def __init__(self) -> None:
        self.seen = bytearray()
        self.kept: dict[int, bytes] = {}
        self.kept_size = 0
        self.dirty: set[int] = set()

    def write(self, offset: int, data: bytes, *, is_dirty: bool) -> None:
        end = offset + len(data)
        self.seen.extend(bytes(max(0, end - len(self.seen))))
        self.seen[offset:end] = data
        if is_dirty:
            self.dirty.update(range(offset // _PAGE, (end - 1) // _PAGE + 1))

    def truncate(self, size: int) -> None:
        self.seen.extend(bytes(max(0, size - len(self.seen))))
        del self.seen[size:]
        self.dirty.add(size // _PAGE)

    def keep(self, pages: set[int]) -> None:
        for page in pages:
            self.kept[page] = bytes(self.seen[page * _PAGE : (page + 1) * _PAGE])
        self.dirty -= pages

    def sync(self) -> None:
        self.keep(self.dirty.copy())
        self.kept_size = len(self.seen)

    def after_a_cut(self, chance: random.Random) -> bytes:
        """What is found, if each page that was not synced may be there or not."""
        pages = dict(self.kept)
        size = self.kept_size
        if chance.random() < 0.5:
            size = len(self.seen)
        for page in self.dirty:
            if chance.random() < 0.5:
                pages[page] = bytes(self.seen[page * _PAGE : (page + 1) * _PAGE])
        found = bytearray(size)
        for page, data in pages.items():
            found[page * _PAGE : page * _PAGE + len(data)] = data
        return bytes(found[:size])


class Power:
    """Follows the records of a disk, and makes what a cut at that moment would leave.

    Names are on the disk when their directory was synced; until then each may be.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._kept_names: dict[str, int] = {}
        self._unlinked = 1
        self.marks = b""

    def follow(self, record: Record) -> None:
        """Take in what was done next."""
        if record.what == "O":
            self._names[pathlib.Path(record.data.decode()).name] = record.inode
            self._files.setdefault(record.inode, _File())
            return
        if record.what == "U":
            self._unlink(pathlib.Path(record.data.decode()).name)
            return
        if record.what == "D":
            self._kept_names = dict(self._names)
            return
        file = self._files.setdefault(record.inode, _File())
        if record.what in "WR":
            if self._names.get("marks") == record.inode:
                self.marks += record.data
                return
            file.write(record.offset, record.data, is_dirty=record.what == "W")
        elif record.what == "T":
            file.truncate(record.offset)
        elif record.what == "S":
            file.sync()
        elif record.what == "F":
            # Linux takes the pages for clean, whichever of them have reached the disk.
            file.keep({page for page in file.dirty if self._chance.random() < 0.5})
            file.dirty.clear()

    def _unlink(self, name: str) -> None:
        file = self._files.pop(self._names.pop(name, 0), None)
        if file is not None and name in self._kept_names:
            # The number may be given to the next file that is made, and this one may come back.
            self._kept_names[name] = -self._unlinked
            self._files[-self._unlinked] = file
            self._unlinked += 1

    def cut(self, directory: pathlib.Path) -> None:
        """Write the files that a power cut now would leave into an empty directory."""
        changed = {
            name
            for name in {*self._names, *self._kept_names}
            if self._names.get(name) != self._kept_names.get(name)
        }
        for name in sorted({*self._names, *self._kept_names} - {"marks"}):
            names = self._kept_names
            if name in changed and self._chance.random() < 0.5:
                names = self._names
            if name in names and not name.endswith("-shm"):
                content = self._files[names[name]].after_a_cut(self._chance)
                (directory / name).write_bytes(content)
