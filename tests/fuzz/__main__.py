# SPDX-License-Identifier: Apache-2.0
"""Feeds random packets to the project until they are used up or something gives way."""

from __future__ import annotations

import argparse
import itertools
import resource
import signal
import sys
import time
import traceback

from tests.fuzz import inputs
from tests.fuzz import targets

SEQUENCE = 100
"""Packets that a target gets before a new one takes its place."""
PATIENCE = 30
"""Seconds that a sequence may take before it counts as a hang."""
GROWTH = 512
"""MiB by which the process may grow."""


def run(name: str, seed: int, number: int) -> None:
    """Feed one sequence to a new target."""
    target = targets.TARGETS[name](inputs.Inputs((seed, name, number)))
    try:
        for _ in range(SEQUENCE):
            target.feed()
    finally:
        getattr(target, "close", lambda: None)()


def main() -> int:
    """Print what was found; the status is 1 when there was something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="packets in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=targets.TARGETS, help="only this one")
    parser.add_argument("--sequence", type=int, help="only the sequence of this number")
    args = parser.parse_args()
    names = [args.target] if args.target else list(targets.TARGETS)
    if args.sequence is not None:
        run(names[0], args.seed, args.sequence)
        return 0
    return _loop(names, args.seed, args.inputs)


def _loop(names: list[str], seed: int, wanted: int) -> int:
    began, fed, findings = time.monotonic(), 0, 0
    first = told = _peak()
    report_at = began + 60
    for number in itertools.count():
        for name in names:
            signal.alarm(PATIENCE)
            try:
                run(name, seed, number)
            except Exception:
                findings += 1
                traceback.print_exc()
                print(f"again: --target {name} --seed {seed} --sequence {number}", flush=True)
            fed += SEQUENCE
        if time.monotonic() > report_at or fed >= wanted or findings >= 20:
            report_at = time.monotonic() + 60
            told = _peak()
            rate = fed / (time.monotonic() - began)
            print(f"{fed} inputs, {rate:.0f}/s, peak RSS {told} MiB, {findings} findings")
            sys.stdout.flush()
        if fed >= wanted or findings >= 20:
            break
    signal.alarm(0)
    if told - first > GROWTH:
        print(f"grew by {told - first} MiB")
        findings += 1
    return 1 if findings else 0


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())
