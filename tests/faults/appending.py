# SPDX-License-Identifier: Apache-2.0
"""A run of :mod:`tests.faults.appender` on a disk that can fail."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from tests.faults import appender
from tests.faults import promises
from tests.faults.disk import Disk
from tests.unit.journal import make


class Run:
    """The process, from its start to its kill -9.

    :param directory: a scratch directory; the journal is made below it
    :param root: where the journal is instead
    :param is_recorded: see :class:`tests.faults.disk.Disk`
    """

    def __init__(
        self,
        directory: pathlib.Path,
        seed: int,
        *,
        root: pathlib.Path | None = None,
        is_recorded: bool = False,
    ) -> None:
        self.root = root or directory / "journals"
        self.root.mkdir(exist_ok=True)
        self.disk = Disk(self.root, directory, is_recorded=is_recorded)
        self.path = self.root / appender.NAME
        self._said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.appender", str(self.root), str(seed)],
            env={**os.environ, **self.disk.environment},
            stdout=subprocess.PIPE,
            text=True,
            cwd=make.ROOT,
        )

    def read_until(self, what: str, count: int) -> list[str]:
        """Return the lines up to the one that brings so many that begin with *what*."""
        assert self._process.stdout is not None
        read = []
        for line in self._process.stdout:
            read.append(line)
            count -= line.startswith(what)
            if not count:
                break
        else:
            raise AssertionError(f"the process ended by itself after {self._said[-5:]}")
        self._said += read
        return read

    def kill(self) -> promises.Promises:
        """kill -9; what it was told until then."""
        assert self._process.stdout is not None
        if self._process.returncode is None:
            self._process.kill()
            self._said += self._process.stdout.readlines()
            self._process.wait()
            self._process.stdout.close()
        return promises.Promises("".join(self._said))
