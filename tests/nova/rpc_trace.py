# SPDX-License-Identifier: Apache-2.0
"""A trace of what one nova process says and hears on the bus, whichever bus it is.

One JSON object per line, written when the message is finished with: `at` (seconds since the
epoch, when it began), `way` (call, cast, served), `method` (an object action is named by object
and method), `seconds` and `error` (the exception's class name, or null).
"""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

ENVIRONMENT_VARIABLE = "NOVA_TEST_RPC_TRACE"
FILE = "rpc-trace.jsonl"


def install(path: str) -> None:
    """Trace this process into the file, which is appended to."""
    from oslo_messaging import transport
    from oslo_messaging.rpc import dispatcher

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    send = transport.Transport._send
    dispatch = dispatcher.RPCDispatcher.dispatch

    def traced_send(self: Any, target: Any, context: Any, message: Any, **options: Any) -> Any:
        way = "call" if options.get("wait_for_reply") else "cast"
        return _timed(
            descriptor, way, message, lambda: send(self, target, context, message, **options)
        )

    def traced_dispatch(self: Any, incoming: Any) -> Any:
        return _timed(descriptor, "served", incoming.message, lambda: dispatch(self, incoming))

    transport.Transport._send = traced_send
    dispatcher.RPCDispatcher.dispatch = traced_dispatch


def read(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a trace, oldest first; an unfinished last line is left out."""
    if path.exists():
        with path.open() as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)


def _method_name(message: dict[str, Any]) -> str:
    arguments = message.get("args", {})
    if "objmethod" not in arguments:
        return str(message["method"])
    instance = arguments.get("objinst")
    name = instance["nova_object.name"] if instance else arguments["objname"]
    return f"{name}.{arguments['objmethod']}"


def _timed(descriptor: int, way: str, message: dict[str, Any], action: Callable[[], Any]) -> Any:
    record = {"at": time.time(), "way": way, "method": _method_name(message), "error": None}
    began = time.monotonic()
    try:
        return action()
    except BaseException as caught:
        record["error"] = type(caught).__name__
        raise
    finally:
        record["seconds"] = round(time.monotonic() - began, 6)
        os.write(descriptor, json.dumps(record).encode() + b"\n")
