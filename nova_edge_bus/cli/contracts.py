# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus contracts``: the table of what each RPC of nova is worth."""

import argparse
import json
import sys
import textwrap
import typing
import urllib.parse
from collections.abc import Sequence

from oslo_config import cfg
from oslo_config import types

from nova_edge_bus import contracts
from nova_edge_bus import errors
from nova_edge_bus import opts
from nova_edge_bus.contracts import overrides
from nova_edge_bus.contracts import table

WIDTH = 100
"""Columns that the table fits into."""
NAME_WIDTH = 46
"""Columns of the first column; what follows a longer name stands on the next line."""
_GAP = "  "


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parser."""
    parser = subparsers.add_parser(
        "contracts",
        help="show what each RPC of nova is worth when the link is cut",
        description="Print the table of contracts: what becomes of each RPC of nova while the "
        "link is up and while it is cut, and within which group it keeps its order. What a "
        "name in angle brackets stands for holds where no other row does.",
    )
    parser.add_argument(
        "filter",
        nargs="?",
        metavar="TEXT",
        help="show only methods whose name contains TEXT in any case; for the full name of a "
        "method without a row, the row that stands for it",
    )
    parser.add_argument(
        "--contract",
        choices=[each.value for each in contracts.Contract],
        help="show only methods under this contract",
    )
    parser.add_argument(
        "--config-file",
        action="append",
        metavar="FILE",
        help="apply the overrides that a service with this file has, in [edge_bus] contracts or "
        "in transport_url; may be repeated, later files win",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 when no row is left to print.

    :raises ConfigurationError: when a file cannot be read, or its overrides cannot work
    """
    applied = _overrides(args.config_file) if args.config_file else {}
    rows = _chosen(list(table.listed(applied)), args.filter, args.contract)
    if args.json:
        print(json.dumps([as_json(each) for each in rows], indent=2))
    elif rows:
        print("\n".join(lines([table.HEADINGS, *(each.cells for each in rows)])))
    if rows:
        return 0
    wanted = [] if args.filter is None else [f"contains {args.filter!r}"]
    wanted += [] if args.contract is None else [f"is under {args.contract}"]
    print(f"nova-edge-bus: no row of the table {' and '.join(wanted)}", file=sys.stderr)
    return 1


def as_json(listed: table.Listed) -> dict[str, object]:
    """One row with the keys that the documentation promises."""
    row = listed.row
    return {
        "name": row.name,
        "kind": row.kind.value,
        "contract": row.contract.value,
        "published": listed.published.value,
        "overridden": listed.overridden,
        "group": row.group or None,
        "repeatable": row.repeatable,
        "last": row.last,
        "remark": row.remark,
    }


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under each other, in :data:`WIDTH` columns; the last one is wrapped."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    widths[0] = min(widths[0], NAME_WIDTH)
    indent = sum(widths) + len(_GAP) * len(widths)
    printed = []
    for name, *others, remark in rows:
        if len(name) > widths[0]:
            printed.append(name)
            name = ""
        cells = [cell.ljust(width) for cell, width in zip((name, *others), widths, strict=True)]
        first, *more = textwrap.wrap(remark, WIDTH - indent)
        printed.append(_GAP.join([*cells, first]))
        printed += [" " * indent + line for line in more]
    return printed


def _chosen(
    rows: list[table.Listed], text: str | None, contract: str | None
) -> list[table.Listed]:
    if text is not None:
        found = [each for each in rows if text.lower() in each.row.name.lower()]
        rows = found or _standing_for(rows, text)
    return [each for each in rows if contract in (None, each.row.contract.value)]


def _standing_for(rows: list[table.Listed], name: str) -> list[table.Listed]:
    """The row that a method of an object without one of its own falls under."""
    objname, _, action = name.partition(".")
    if not (objname[:1].isupper() and action.isidentifier()) or objname.endswith("API"):
        return []
    row = table.object_row(objname, action)
    return [each for each in rows if each.row.name == row.name]


def _overrides(files: list[str]) -> dict[str, contracts.Contract]:
    """What a service with these files makes of the option, but for its environment."""
    conf = cfg.ConfigOpts()
    # The bus's own reader of URLs needs oslo.messaging, which takes long to load.
    conf.register_opt(cfg.StrOpt("transport_url", default=""))
    opts.register(conf)
    try:
        conf([], default_config_files=files, default_config_dirs=[], use_env=False)
        texts = conf[opts.GROUP].contracts
        url = urllib.parse.urlsplit(conf.transport_url)
        query = urllib.parse.parse_qs(url.query)
        if url.scheme == "edgebus" and "contracts" in query:
            texts = types.Dict()(",".join(query["contracts"]))
    except (cfg.Error, ValueError, OSError) as error:
        raise errors.ConfigurationError(" ".join(str(error).split())) from error
    return dict(overrides.parse(texts))
