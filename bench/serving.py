# SPDX-License-Identifier: Apache-2.0
"""The loop of a child process that takes commands as lines of JSON."""

import collections.abc
import json
import os
import sys
import typing


def serve(make: collections.abc.Callable[[], typing.Any], commands: frozenset[str]) -> None:
    """Do what the lines on standard input say; does not return.

    Each line is an object with a ``command`` and its arguments, each answer one line on standard
    output. The end of the input ends the process.

    :param make: makes the object whose methods *commands* names
    """
    # Libraries may print; what they print must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    role = make()
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        try:
            if command not in commands:
                raise ValueError(f"no command {command!r}")
            answer = getattr(role, command)(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
    # Threads of the transports may still wait for a bus that has gone.
    os._exit(0)
