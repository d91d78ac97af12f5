# SPDX-License-Identifier: Apache-2.0
"""How every command of the benchmark runs, and with which status it ends."""

import collections.abc
import pathlib
import signal
import sys
import tempfile

from bench import backends
from bench import machine


def run(
    name: str,
    directory: pathlib.Path,
    act: collections.abc.Callable[[pathlib.Path], int],
    failures: tuple[type[Exception], ...] = (),
    absences: tuple[type[Exception], ...] = (),
) -> int:
    """Have *act* measure in a directory of its own, which is gone afterwards.

    SIGTERM ends the command as an error would, so that its children are ended as well.

    :param name: what the errors on standard error begin with
    :param directory: where to make it, on a disk
    :param failures: what means that a part of the measurement failed
    :param absences: what else means that it cannot be measured here
    :returns: what *act* returns; 1 after one of *failures*; 2 when it cannot be measured here
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    prefix = f"edge-bus-{name.rpartition(' ')[2]}-"
    try:
        machine.require_disk(directory)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=directory) as own:
            return act(pathlib.Path(own))
    except failures as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except (backends.Unavailable, machine.NotOnDisk, OSError, *absences) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
