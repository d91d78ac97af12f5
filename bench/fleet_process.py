# SPDX-License-Identifier: Apache-2.0
"""Some hosts of a fleet: ``python -m bench.fleet_process``, commanded by lines of JSON."""

import importlib
import typing

from oslo_service import backend

from bench import serving


def _open() -> typing.Any:
    # oslo.messaging imports eventlet unless native threads were chosen before.
    backend.init_backend(backend.BackendType.THREADING)
    return importlib.import_module("bench.fleet").Fleet()


if __name__ == "__main__":
    serving.serve(_open, frozenset({"fill", "come_back", "waiting"}))
