# SPDX-License-Identifier: Apache-2.0
"""What stands between a process and its machine: shims in C, built when they are wanted."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

_HERE = pathlib.Path(__file__).parent
_COMPILER = os.environ.get("CC", "gcc")


@functools.cache
def built(name: str) -> str:
    """The path of a shim to load with LD_PRELOAD.

    Without a compiler the test is skipped, and fails in CI.
    """
    if shutil.which(_COMPILER) is None:
        reason = f"cannot build {name}.c: there is no {_COMPILER}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    directory = pathlib.Path(tempfile.gettempdir(), f"edge-bus-shims-{os.getuid()}")
    directory.mkdir(mode=0o700, exist_ok=True)
    source = _HERE / f"{name}.c"
    target = directory / f"{name}-{source.stat().st_mtime_ns}.so"
    if not target.exists():
        made = target.with_suffix(f".{os.getpid()}")
        options = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror"]
        libraries = ["-ldl", "-lpthread", "-lm"]
        subprocess.run([_COMPILER, *options, "-o", made, source, *libraries], check=True)
        made.rename(target)
    return str(target)
