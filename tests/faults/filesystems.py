# SPDX-License-Identifier: Apache-2.0
"""Small file systems of their own, to be filled to the last byte."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

KINDS = ("tmpfs", "ext4")
_BALLAST = "ballast"
_CHUNK = 1 << 16


@contextlib.contextmanager
def small(kind: str, mount: pathlib.Path, mebibytes: int) -> Iterator[pathlib.Path]:
    """A file system of this size at *mount*, while the block runs.

    Where mounting is not permitted the test is skipped, and fails in CI.
    """
    mount.mkdir(exist_ok=True)
    image = mount.with_suffix(".image")
    command = ["mount", "-t", kind, "-o", f"size={mebibytes}m", kind, str(mount)]
    if kind == "ext4":
        image.write_bytes(b"")
        os.truncate(image, mebibytes << 20)
        options = ["-q", "-F", "-b", "4096", "-O", "^has_journal", "-m", "0"]
        subprocess.run(["mkfs.ext4", *options, str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(mount)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"cannot mount a file system: {done.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(mount: pathlib.Path) -> None:
    """Leave no byte on a file system."""
    with (mount / _BALLAST).open("ab", buffering=0) as ballast:
        for chunk in (_CHUNK, 512):
            try:
                while True:
                    ballast.write(bytes(chunk))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def make_room(mount: pathlib.Path) -> None:
    """Give the space back that :func:`fill` has taken."""
    (mount / _BALLAST).unlink()
