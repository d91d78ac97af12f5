# SPDX-License-Identifier: Apache-2.0
"""Finds the subcommand and runs it.

A subcommand is a module of this package that is named in :data:`COMMANDS` and has

- ``register(subparsers)``, which adds its parser and sets the default ``run`` to
- a function that takes the parsed arguments and returns the exit status.

Exit status: 0 done, 1 not possible or something found, 2 wrong usage or input that cannot be used.
What is not possible, and why input cannot be used, is one line on stderr.
"""

import argparse
import collections.abc
import importlib
import sys

import nova_edge_bus
from nova_edge_bus import errors

COMMANDS = (
    "endpoint",
    "rest_guard",
    "status",
    "outbox",
    "replay",
    "dead_letters",
    "verify",
    "contracts",
    "db",
    "keys",
    "completion",
)
"""The modules of the subcommands, in the order that help shows."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="nova-edge-bus", description="Serve, inspect and mend the nova edge bus."
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {nova_edge_bus.__version__}"
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"nova_edge_bus.cli.{name}").register(subparsers)
    return parser


def main(argv: collections.abc.Sequence[str] | None = None) -> int:
    """Run one command line and give its exit status."""
    args = make_parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except errors.InputError as exc:
        print(f"nova-edge-bus: {exc}", file=sys.stderr)
        return 2
    except errors.EdgeBusError as exc:
        print(f"nova-edge-bus: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has seen enough; Python must not complain at exit.
        sys.stderr.close()
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
