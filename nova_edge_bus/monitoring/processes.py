# SPDX-License-Identifier: Apache-2.0
"""The metrics of a process that uses the bus, from the record that it keeps beside its journal."""

import collections.abc
import typing

from nova_edge_bus.monitoring import catalogue
from nova_edge_bus.monitoring import endpoints
from nova_edge_bus.monitoring.catalogue import Sample

Record = collections.abc.Mapping[str, typing.Any]

STATES = ("linked", "cut off", "catching up")
_FIGURES = {
    "links_made": catalogue.LINKS_MADE,
    "links_lost": catalogue.LINKS_LOST,
    "cuts": catalogue.CUTS,
    "shipped": catalogue.SHIPPED,
    "no_route": catalogue.NO_ROUTE,
    "fenced": catalogue.FENCED,
    "refused": catalogue.REFUSED,
    "handled": catalogue.HANDLED,
    "recorded": catalogue.RECORDED,
    "put_off": catalogue.PUT_OFF,
    "conflicts": catalogue.CONFLICTS,
    "denied": catalogue.DENIED,
}
_LINKS = {
    "credit": catalogue.LINK_CREDIT,
    "queued": catalogue.LINK_QUEUED,
    "bytes_in": catalogue.LINK_RECEIVED,
    "bytes_out": catalogue.LINK_SENT,
}
_BACKLOGS = {
    "slots": catalogue.ADMISSION_SLOTS,
    "at_work": catalogue.ADMISSION_AT_WORK,
    "in_flight": catalogue.ADMISSION_IN_FLIGHT,
    "waiting": catalogue.ADMISSION_WAITING,
}


def samples(journal: str, record: Record) -> collections.abc.Iterator[Sample]:
    """What a live process says of itself; of an older release some of it may be missing."""
    yield Sample(catalogue.PROCESS_START, (journal,), record["started_at"])
    yield from _places(journal, record)
    if record.get("snapshot_lacks") is not None:
        yield Sample(catalogue.SNAPSHOT_LACKS, (journal,), record["snapshot_lacks"])
    figures = record.get("figures", {})
    for name, metric in _FIGURES.items():
        if name in figures:
            yield Sample(metric, (journal,), figures[name])
    for kind, name in (("write", "written_here"), ("read", "read_here")):
        if name in figures:
            yield Sample(catalogue.ANSWERED_HERE, (journal, kind), figures[name])
    backlogs = record.get("backlogs") or {}
    if backlogs.get("slots"):
        for name, metric in _BACKLOGS.items():
            yield Sample(metric, (journal,), backlogs[name])
    if record.get("hosted"):
        yield from endpoints.samples(record["hosted"])


def _places(journal: str, record: Record) -> collections.abc.Iterator[Sample]:
    # Several transport URLs may name the same endpoint, and are linked to it each by itself.
    up: dict[str, bool] = {}
    for each in record.get("endpoints", ()):
        up[each["address"]] = up.get(each["address"], True) and each["state"] == "linked"
    for address, is_up in up.items():
        yield Sample(catalogue.LINK_UP, (journal, address), is_up)
    for name, metric in _LINKS.items():
        sums: dict[str, int] = {}
        for each in record.get("links", ()):
            sums[each["address"]] = sums.get(each["address"], 0) + each[name]
        for address, value in sums.items():
            yield Sample(metric, (journal, address), value)
    found: dict[str, tuple[str, float]] = {}
    for each in record.get("destinations", ()):
        state, since = each["state"], each["since"]
        before = found.get(each["address"])
        # Of two links to one destination, the worse is told.
        if before is None or (before[0] == STATES[0] and state != STATES[0]):
            found[each["address"]] = (state, since)
    for address, (state, since) in found.items():
        yield Sample(catalogue.DESTINATION_SINCE, (journal, address), since)
        for word in STATES:
            labels = (journal, address, word.replace(" ", "_"))
            yield Sample(catalogue.DESTINATION_STATE, labels, word == state)
