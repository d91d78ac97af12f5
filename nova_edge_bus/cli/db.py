# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus db``: the tables of this package in a cell's database."""

import argparse
import json
import os

from oslo_config import cfg

from nova_edge_bus import errors
from nova_edge_bus.cell import sync

_DESCRIPTION = """\
Make or migrate the tables that the bus keeps in the database of a nova cell. They tell a conductor
which entries have had their effect, so that none has it twice. Run it once per cell, after
'nova-manage db sync' and before the conductors use the bus; running it again does no harm.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    group = subparsers.add_parser(
        "db",
        help="make or migrate the tables in a cell's database",
        description="The tables of the bus in a cell's database.",
    )
    verbs = group.add_subparsers(metavar="VERB", required=True)
    parser = verbs.add_parser(
        "sync",
        help="make the tables, or bring them to this version",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--config-file",
        action="append",
        metavar="FILE",
        help="take the database from [database] connection of this file, such as the conductor's "
        "nova.conf; may be repeated",
    )
    source.add_argument(
        "--connection",
        metavar="URL",
        help="SQLAlchemy's URL of the database. It is visible to whoever lists processes; "
        "OS_DATABASE__CONNECTION in the environment with '--connection -' is not",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_sync)


def run_sync(args: argparse.Namespace) -> int:
    """Make or migrate the tables.

    :raises ConfigurationError: when no database is named
    :raises CellDatabaseError: when it cannot be reached or changed
    """
    url = _url(args)
    steps = sync.pending(url) if args.dry_run else sync.sync(url)
    if args.json:
        print(json.dumps({"dry_run": args.dry_run, "steps": steps}))
        return 0
    for step in steps:
        print(f"{'would do' if args.dry_run else 'done'}: {step}")
    if not steps:
        print("the tables are current")
    return 0


def _url(args: argparse.Namespace) -> str:
    if args.connection == "-":
        url = os.environ.get("OS_DATABASE__CONNECTION", "")
    elif args.connection is not None:
        url = args.connection
    else:
        url = _configured(args.config_file)
    if not url:
        raise errors.ConfigurationError("no database is named: [database] connection is empty")
    return str(url)


def _configured(files: list[str]) -> str:
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("connection", default="", secret=True), group="database")
    try:
        conf([], project="nova", prog="nova-edge-bus", default_config_files=files)
        return str(conf.database.connection or "")
    except (cfg.Error, OSError) as error:
        raise errors.ConfigurationError(str(error)) from None
