# SPDX-License-Identifier: Apache-2.0
"""Run one real nova or placement service: `python -m tests.nova.service NAME ...`.

It does what the console script does, and three things before: the database hook for SQLite, the
virt driver under the name nova looks for, and the RPC trace where NOVA_TEST_RPC_TRACE asks for it.

    python -m tests.nova.service nova-compute --config-file FILE
    python -m tests.nova.service wsgi MODULE:ATTRIBUTE PORT
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys

from tests.nova.processes import reserve_port


def main() -> None:
    """Run the service named on the command line; does not return before it ends."""
    name = sys.argv[1]
    if name == "wsgi":
        application, port = sys.argv[2:4]
        sys.argv[1:] = []
        _prepare()
        _serve(application, int(port))
    else:
        sys.argv[:2] = [name]
        (entry,) = importlib.metadata.entry_points(group="console_scripts", name=name)
        _prepare()
        if name == "nova-compute":
            _register_virt_driver()
        sys.exit(entry.load()())


def _prepare() -> None:
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
    from tests.nova import rpc_trace
    from tests.nova import sqlite_writers

    sqlite_writers.install()
    trace_file = os.environ.get(rpc_trace.ENVIRONMENT_VARIABLE)
    if trace_file:
        rpc_trace.install(trace_file)


def _register_virt_driver() -> None:
    """Nova imports compute drivers from its own package alone."""
    sys.modules["nova.virt.persistent_fake"] = importlib.import_module("tests.nova.virt")


def _serve(application: str, port: int) -> None:
    import waitress

    module, _, attribute = application.partition(":")
    loaded = getattr(importlib.import_module(module), attribute)
    listener = reserve_port(port)
    listener.listen(128)
    waitress.serve(loaded, sockets=[listener], threads=8)


if __name__ == "__main__":
    main()
