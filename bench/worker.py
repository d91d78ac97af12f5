# SPDX-License-Identifier: Apache-2.0
"""The child processes: ``python -m bench.worker ROLE [threads|eventlet]``, commanded by JSON.

Each line on standard input is a command with its arguments, each answer one line on standard
output. The first command is ``open``; the end of the input ends the process.
"""

import collections.abc
import fcntl
import importlib
import json
import os
import sys
import typing

from bench import places

_ROLES = {
    "sender": "Sender",
    "receiver": "Receiver",
    "centre": "Centre",
    "host": "Host",
    "caller": "Caller",
    "drainer": "Drainer",
}
_CHUNK = 1 << 16
_COMMANDS = frozenset(
    {"run", "expect", "tally", "begin", "end", "waiting", "arrivals", "fill", "come_back"}
)


def _open(name: str, place: dict[str, str]) -> typing.Any:
    module = importlib.import_module(f"bench.{name}")
    return getattr(module, _ROLES[name])(places.Place(**place))


def _answer(role: typing.Any, request: dict[str, typing.Any]) -> dict[str, typing.Any]:
    command = request.pop("command")
    if command not in _COMMANDS:
        raise ValueError(f"no command {command!r}")
    answer: dict[str, typing.Any] = getattr(role, command)(**request)
    return answer


def _become_green() -> None:
    import eventlet

    eventlet.monkey_patch()
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_NONBLOCK)


def _lines() -> collections.abc.Iterator[bytes]:
    """The lines of standard input, read by os.read, which eventlet patches, so the hub goes on."""
    buffer = b""
    while chunk := os.read(0, _CHUNK):
        *lines, buffer = (buffer + chunk).split(b"\n")
        yield from lines


def main() -> None:
    """Serve until the coordinator closes our input or asks us to close."""
    if sys.argv[2:] == ["eventlet"]:
        _become_green()
    # The default of oslo.service is eventlet, and oslo.messaging imports what is chosen.
    service = importlib.import_module("oslo_service.backend")
    service.init_backend(
        service.BackendType.EVENTLET
        if sys.argv[2:] == ["eventlet"]
        else service.BackendType.THREADING
    )
    # Libraries may print; what they print must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    role: typing.Any = None
    for line in _lines():
        request = json.loads(line)
        try:
            if request["command"] == "open":
                role = _open(sys.argv[1], request["place"])
                answer: dict[str, typing.Any] = {}
            elif request["command"] == "close":
                role.close()
                answer = {}
            else:
                answer = _answer(role, request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
    # Threads of the transports may still wait for a bus that has gone.
    os._exit(0)


if __name__ == "__main__":
    main()
