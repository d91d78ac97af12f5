# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus status``: what is not shipped yet, how old it is, and what is linked."""

import argparse
import glob
import os
import time
import typing
from collections.abc import Iterator
from typing import Any

from nova_edge_bus import errors
from nova_edge_bus.cli import journals
from nova_edge_bus.cli import output
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import selecting
from nova_edge_bus.journal import status as records

_LINKED = "linked"


def register(subparsers: typing.Any) -> None:
    """Add the subcommand's parser."""
    parser = subparsers.add_parser(
        "status",
        help="show what is pending, how old it is, and which endpoints are linked",
        description="Say whether everything has been shipped, how old the oldest pending entry "
        "is and which endpoints are linked; then the details of each journal. Works beside live "
        "processes and without them, and takes no lock.",
    )
    journals.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status; 1 when a journal cannot be read.

    :raises InputError: when there is no journal
    """
    selection = journals.select(args)
    found = [_journal(each, selection.max_bytes) for each in selection.journals]
    whole = _summary(found)
    whole["journals"] = found
    whole["set_aside"] = _set_aside(selection.folder)
    if args.json:
        output.print_json(whole)
    else:
        for line in _lines(whole):
            print(line)
    return 1 if any(each["error"] for each in found) else 0


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    readable = [each for each in found if each["error"] is None]
    ages = [each["oldest_seconds"] for each in readable if each["oldest_seconds"] is not None]
    states: dict[str, bool] = {}
    for each in readable:
        for endpoint in each["endpoints"] if each["current"] else ():
            linked = endpoint["state"] == _LINKED
            states[endpoint["address"]] = states.get(endpoint["address"], True) and linked
    return {
        "drained": False if ages else None if len(readable) < len(found) else True,
        "pending": sum(each["entries"][selecting.PENDING]["count"] for each in readable),
        "oldest_seconds": max(ages, default=None),
        "linked": sorted(address for address, linked in states.items() if linked),
        "not_linked": sorted(address for address, linked in states.items() if not linked),
    }


def _journal(journal: journals.Journal, max_bytes: int) -> dict[str, Any]:
    """One journal with the keys that the documentation promises."""
    shown: dict[str, Any] = {
        "path": journal.path,
        "host": journal.host,
        "service": journal.service,
        "error": None,
    }
    try:
        with journals.opened(journal) as reader:
            identity = reader.identity()
            overview = reader.overview()
    except errors.EdgeBusError as error:
        return {**shown, "error": str(error)}
    record = records.read(journal.path)
    if record is not None and record.get("outbox") != identity.outbox_id.hex():
        # Beside a copy, or from before the journal was set aside.
        record = None
    shown |= {"outbox": identity.outbox_id.hex(), "epoch": identity.epoch}
    shown |= _owner(journal.path, record)
    shown |= _entries(overview)
    shown |= _space(overview, record, max_bytes)
    return shown | _record(record, overview)


def _owner(path: str, record: dict[str, Any] | None) -> dict[str, Any]:
    """Who lives in a journal."""
    pid, current = records.owner(path, record)
    return {
        "pid": pid,
        "adopted_by": None if pid is None else _adopter(path, pid),
        "current": current,
    }


def _adopter(path: str, pid: int) -> str | None:
    """The journal of the process *pid*, if that has adopted the journal at *path*."""
    folder, name = os.path.split(path)
    for own in sorted(glob.glob(os.path.join(glob.escape(folder), "*.db"))):
        record = records.read(own)
        if record is not None and record["pid"] == pid:
            if name in map(os.path.basename, record["adopted"]):
                return own
    return None


def _entries(overview: reading.Overview) -> dict[str, Any]:
    now = time.time()
    oldest = min((each.oldest_at for each in overview.pending), default=None)
    return {
        "entries": {
            name: {"count": depth.entries, "bytes": depth.size}
            for name, depth in overview.statuses.items()
        },
        "oldest_seconds": None if oldest is None else max(0, round(now - oldest)),
        "dead_letters": overview.statuses["dead"].entries,
        "inbox_waiting": overview.inbox_waiting,
    }


def _space(
    overview: reading.Overview, record: dict[str, Any] | None, max_bytes: int
) -> dict[str, Any]:
    limit = int(record["max_bytes"]) if record is not None else max_bytes
    return {
        "bytes": {
            "used": overview.live,
            "on_disk": overview.on_disk,
            "quota": limit,
            "percent": round(100 * overview.live / limit, 1),
        }
    }


def _record(record: dict[str, Any] | None, overview: reading.Overview) -> dict[str, Any]:
    """What the process last said of itself, with what is pending for each destination."""
    said = record or {}
    lacks = said.get("snapshot_lacks")
    return {
        "written_seconds_ago": None if record is None else round(records.age(record)),
        "process": said.get("state"),
        "started_at": output.moment(said.get("started_at")),
        "endpoints": [
            {
                "address": each["address"],
                "state": each["state"],
                "since": output.moment(each["since"]),
            }
            for each in said.get("endpoints", ())
        ],
        "destinations": list(_destinations(said.get("destinations", []), overview.pending)),
        "snapshot": None if lacks is None else {"complete": lacks == 0, "lacks": lacks},
        "figures": said.get("figures"),
    }


def _destinations(
    said: list[dict[str, Any]], pending: list[reading.Pending]
) -> Iterator[dict[str, Any]]:
    states = {(each["link"], each["address"]): each for each in said}
    held = {(each.link, each.address): each for each in pending}
    for link, address in dict.fromkeys([*states, *held]):
        state = states.get((link, address))
        waiting = held.get((link, address))
        yield {
            "address": address,
            "endpoints": link.split(","),
            "state": None if state is None else state["state"],
            "since": None if state is None else output.moment(state["since"]),
            "pending": 0 if waiting is None else waiting.entries,
            "bytes": 0 if waiting is None else waiting.size,
            "first_seq": None if waiting is None else waiting.first_seq,
            "oldest_at": None if waiting is None else output.moment(waiting.oldest_at),
        }


def _set_aside(folder: str | None) -> list[str]:
    """Corrupt journals that were moved away, with what was pending in them."""
    if folder is None:
        return []
    found = glob.glob(os.path.join(glob.escape(folder), "*.db.corrupt-*"))
    return sorted(path for path in found if not path.endswith(("-wal", "-shm")))


# For a reader.


def _lines(whole: dict[str, Any]) -> Iterator[str]:
    yield _first_line(whole)
    for each in whole["journals"]:
        yield ""
        yield from map(output.clean, _journal_lines(each))
    for path in whole["set_aside"]:
        yield ""
        yield output.clean(f"set aside as corrupt: {path}; try 'nova-edge-bus verify --journal'")


def _first_line(whole: dict[str, Any]) -> str:
    count = len(whole["journals"])
    unread = sum(1 for each in whole["journals"] if each["error"])
    if whole["pending"]:
        said = f"not drained: {_count(whole['pending'], 'entry', 'entries')} pending, "
        said += f"the oldest for {output.duration(whole['oldest_seconds'])}"
    elif unread:
        said = "unknown whether drained"
    else:
        said = f"drained: nothing is pending in {_count(count, 'journal', 'journals')}"
    parts = [said]
    if unread:
        parts.append(f"{unread} of {count} journals cannot be read")
    if whole["linked"]:
        parts.append(f"linked to {', '.join(whole['linked'])}")
    if whole["not_linked"]:
        parts.append(f"not linked to {', '.join(whole['not_linked'])}")
    if not whole["linked"] and not whole["not_linked"]:
        parts.append("no live process says what is linked")
    return output.clean("; ".join(parts))


def _journal_lines(shown: dict[str, Any]) -> Iterator[str]:
    yield shown["path"]
    if shown["error"]:
        yield f"  error         {shown['error']}"
        return
    owner = "no process" if shown["pid"] is None else f"pid {shown['pid']}"
    if shown["adopted_by"]:
        owner += f", which has adopted it and lives in {shown['adopted_by']}"
    if shown["host"] is not None:
        yield f"  whose         {shown['service']} on {shown['host']}"
    yield f"  owner         {owner}; outbox {shown['outbox']} epoch {shown['epoch']}"
    yield f"  record        {_said(shown)}"
    was = "" if shown["current"] else "was "
    for each in shown["endpoints"]:
        yield f"  endpoint      {each['address']} {was}{each['state']} since {each['since']}"
    for each in shown["destinations"]:
        yield f"  destination   {_destination(each, was)}"
    depths = (
        f"{depth['count']} {name}" for name, depth in shown["entries"].items() if depth["count"]
    )
    yield f"  entries       {', '.join(depths) or 'none'}"
    if shown["inbox_waiting"]:
        yield f"  inbox         {shown['inbox_waiting']} received and not dispatched"
    space = shown["bytes"]
    yield (
        f"  quota         {space['percent']:g} %: {output.size(space['used'])} of "
        f"{output.size(space['quota'])}, {output.size(space['on_disk'])} on disk"
    )
    if shown["snapshot"] is not None:
        lacks = shown["snapshot"]["lacks"]
        word = f"lacks {_count(lacks, 'answer', 'answers')}" if lacks else "complete"
        yield f"  snapshot      {word}"


def _said(shown: dict[str, Any]) -> str:
    ago = shown["written_seconds_ago"]
    if ago is None:
        return "none: links and states are not known"
    text = f"{output.duration(ago)} old"
    if shown["process"] == "stopped":
        return f"{text}: of a process that has stopped"
    return text if shown["current"] else f"{text}: its process has ended or hangs"


def _destination(each: dict[str, Any], was: str) -> str:
    state = f"{was}{each['state']}" if each["state"] else "state unknown"
    text = f"{each['address']} {state}"
    if each["since"]:
        text += f" since {each['since']}"
    if each["pending"]:
        entries = _count(each["pending"], "entry", "entries")
        text += f": {entries} pending, {output.size(each['bytes'])}, oldest of {each['oldest_at']}"
    return text


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
