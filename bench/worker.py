# SPDX-License-Identifier: Apache-2.0
"""The child processes: ``python -m bench.worker ROLE``, commanded by lines of JSON.

Each line on standard input is a command with its arguments, each answer one line on standard
output. The first command is ``open``; the end of the input ends the process.
"""

import importlib
import json
import os
import sys
import typing

from oslo_service import backend

from bench import places

_ROLES = {
    "sender": "Sender",
    "receiver": "Receiver",
    "centre": "Centre",
    "host": "Host",
    "caller": "Caller",
    "drainer": "Drainer",
}
_COMMANDS = frozenset(
    {"run", "expect", "tally", "begin", "end", "waiting", "arrivals", "fill", "come_back"}
)


def _open(name: str, place: dict[str, str]) -> typing.Any:
    # oslo.messaging imports eventlet unless native threads were chosen before, as nova 34 does.
    backend.init_backend(backend.BackendType.THREADING)
    module = importlib.import_module(f"bench.{name}")
    return getattr(module, _ROLES[name])(places.Place(**place))


def _answer(role: typing.Any, request: dict[str, typing.Any]) -> dict[str, typing.Any]:
    command = request.pop("command")
    if command not in _COMMANDS:
        raise ValueError(f"no command {command!r}")
    answer: dict[str, typing.Any] = getattr(role, command)(**request)
    return answer


def main() -> None:
    """Serve until the coordinator closes our input or asks us to close."""
    # Libraries may print; what they print must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    role: typing.Any = None
    for line in sys.stdin:
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
