# SPDX-License-Identifier: Apache-2.0
"""The metrics that there are: their names, labels and meaning, a contract with operators.

``doc/source/monitoring.rst`` lists them; a name is never given another meaning.
"""

import collections.abc
import typing

COUNTER = "counter"
GAUGE = "gauge"


class Metric(typing.NamedTuple):
    """A metric: its full name, kind, what it tells an operator, and the names of its labels."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


class Sample(typing.NamedTuple):
    """One value of a metric; ``labels`` are the values of its labels, in their order."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


Source = collections.abc.Callable[[], collections.abc.Iterable[Sample]]
"""Gives what is so now; called for each reading, in a thread of the HTTP server."""

_all: dict[str, Metric] = {}


def metrics() -> list[Metric]:
    """All metrics, in the order in which they are shown."""
    return list(_all.values())


def _metric(name: str, kind: str, text: str, *labels: str) -> Metric:
    metric = Metric(f"edge_bus_{name}", kind, text, labels)
    _all[metric.name] = metric
    return metric


# An endpoint; the label ``listen`` is the address that it is bound to.

ENDPOINT_SESSIONS = _metric(
    "endpoint_sessions", GAUGE, "Peers that are linked to this endpoint now.", "listen"
)
ENDPOINT_SESSIONS_MAX = _metric(
    "endpoint_sessions_max",
    GAUGE,
    "Sessions that the endpoint holds at most (--max-sessions); further peers are rejected.",
    "listen",
)
ENDPOINT_SESSIONS_OPENED = _metric(
    "endpoint_sessions_opened_total",
    COUNTER,
    "Sessions that came up since the endpoint began; many more than peers: links that flap.",
    "listen",
)
ENDPOINT_REJECTED = _metric(
    "endpoint_sessions_rejected_total",
    COUNTER,
    "Sessions that were asked for and rejected, by reason.",
    "listen",
    "reason",
)
ENDPOINT_DELIVERED = _metric(
    "endpoint_delivered_total", COUNTER, "Messages passed on to a listener.", "listen"
)
ENDPOINT_ANSWERED = _metric(
    "endpoint_answered_total", COUNTER, "Answers passed back to a sender.", "listen"
)
ENDPOINT_ANSWERS_DROPPED = _metric(
    "endpoint_answers_dropped_total",
    COUNTER,
    "Answers whose sender had left or read nothing; it asks again.",
    "listen",
)
ENDPOINT_FANNED_OUT = _metric(
    "endpoint_fanned_out_total", COUNTER, "Copies of fanouts passed on.", "listen"
)
ENDPOINT_REFUSED = _metric(
    "endpoint_refused_total",
    COUNTER,
    "Messages given back to their sender, who keeps them and tries again. no_route: who was to "
    "take it is not here; busy: it reads too slowly.",
    "listen",
    "reason",
)
ENDPOINT_PACKETS_RECEIVED = _metric(
    "endpoint_received_packets_total", COUNTER, "Packets from peers.", "listen"
)
ENDPOINT_PACKETS_SENT = _metric(
    "endpoint_sent_packets_total", COUNTER, "Packets to peers.", "listen"
)
ENDPOINT_BYTES_RECEIVED = _metric(
    "endpoint_received_bytes_total",
    COUNTER,
    "Bytes of packets from peers, without what ZeroMQ and TCP add.",
    "listen",
)
ENDPOINT_BYTES_SENT = _metric(
    "endpoint_sent_bytes_total",
    COUNTER,
    "Bytes of packets to peers, without what ZeroMQ and TCP add.",
    "listen",
)
ENDPOINT_PENDING = _metric(
    "endpoint_pending_bytes",
    GAUGE,
    "Bytes in memory that wait for the credit of a peer that does not read.",
    "listen",
)
ENDPOINT_PENDING_MAX = _metric(
    "endpoint_pending_bytes_max",
    GAUGE,
    "Bytes that may wait so; beyond them deliveries are refused as busy.",
    "listen",
)

# Journals; the label ``journal`` is the name of the file without its ending.

JOURNALS_SET_ASIDE = _metric(
    "journals_set_aside",
    GAUGE,
    "Corrupt journals that were moved away; what was pending in them has not been shipped.",
)
JOURNAL_INFO = _metric(
    "journal_info",
    GAUGE,
    "Always 1: whose journal it is, and its outbox id.",
    "journal",
    "host",
    "service",
    "outbox",
)
JOURNAL_READABLE = _metric(
    "journal_readable",
    GAUGE,
    "1 when the journal could be read just now, else 0, and its other metrics are missing.",
    "journal",
)
JOURNAL_OWNED = _metric(
    "journal_owned",
    GAUGE,
    "1 while a process lives in the journal, 0 when it has none or was adopted by another's.",
    "journal",
)
JOURNAL_USED = _metric(
    "journal_used_bytes",
    GAUGE,
    "Bytes of the quota that are in use. A full journal makes callers fail; nothing is dropped.",
    "journal",
)
JOURNAL_MAX = _metric(
    "journal_max_bytes", GAUGE, "The quota, [edge_bus] journal_max_bytes.", "journal"
)
JOURNAL_DISK = _metric(
    "journal_disk_bytes", GAUGE, "Bytes that the journal's files occupy.", "journal"
)
OUTBOX_ENTRIES = _metric(
    "outbox_pending_entries", GAUGE, "Entries that are not settled yet: the backlog.", "journal"
)
OUTBOX_BYTES = _metric(
    "outbox_pending_bytes", GAUGE, "Bytes of the bodies of these entries.", "journal"
)
OUTBOX_OLDEST = _metric(
    "outbox_oldest_seconds",
    GAUGE,
    "Age of the oldest pending entry, 0 when nothing is pending: how far the centre is behind.",
    "journal",
)
DESTINATION_ENTRIES = _metric(
    "destination_pending_entries",
    GAUGE,
    "Entries that are pending for one destination.",
    "journal",
    "destination",
)
INBOX_WAITING = _metric(
    "inbox_waiting_entries",
    GAUGE,
    "Commands that were taken over and not dispatched yet.",
    "journal",
)
DEAD_LETTERS = _metric(
    "dead_letters",
    GAUGE,
    "Entries that can never be applied and wait for an operator's decision.",
    "journal",
)
ENTRIES = _metric(
    "entries_total",
    COUNTER,
    "What became of the entries of an outbox since the journal was made: applied, accepted, "
    "merged into a newer one, expired, dead (letters), requeued and discarded by an operator, "
    "forwarded (shipped anew after the centre lost them), damaged on disk.",
    "journal",
    "outcome",
)
RECEIVED = _metric(
    "received_total", COUNTER, "Commands that were taken over into the inbox.", "journal"
)

# Processes, as they describe themselves; all but the first two only while they do.

PROCESS_UP = _metric(
    "process_up",
    GAUGE,
    "1 while the journal's own process says how it is, at least twice a minute; else 0.",
    "journal",
)
RECORD_AGE = _metric(
    "record_age_seconds",
    GAUGE,
    "Seconds since the journal's process last said how it is.",
    "journal",
)
PROCESS_START = _metric(
    "process_start_time_seconds",
    GAUGE,
    "When the process began to use the bus, in seconds since 1970.",
    "journal",
)
LINK_UP = _metric(
    "link_up",
    GAUGE,
    "1 while the process is linked to the endpoint, else 0.",
    "journal",
    "endpoint",
)
LINK_CREDIT = _metric(
    "link_credit_messages",
    GAUGE,
    "Messages that the endpoint takes now; 0 for long: it does not keep up.",
    "journal",
    "endpoint",
)
LINK_QUEUED = _metric(
    "link_queued_messages",
    GAUGE,
    "Messages that wait for credit or for the next write.",
    "journal",
    "endpoint",
)
LINK_RECEIVED = _metric(
    "link_received_bytes_total",
    COUNTER,
    "Bytes of packets from the endpoint, compressed, without what ZeroMQ and TCP add.",
    "journal",
    "endpoint",
)
LINK_SENT = _metric(
    "link_sent_bytes_total",
    COUNTER,
    "Bytes of packets to the endpoint, compressed, without what ZeroMQ and TCP add.",
    "journal",
    "endpoint",
)
DESTINATION_STATE = _metric(
    "destination_state",
    GAUGE,
    "1 for the state that the destination is in, 0 for the others: linked, cut_off, catching_up.",
    "journal",
    "destination",
    "state",
)
DESTINATION_SINCE = _metric(
    "destination_state_since_seconds",
    GAUGE,
    "Since when it has been in that state, in seconds since 1970.",
    "journal",
    "destination",
)
SNAPSHOT_LACKS = _metric(
    "snapshot_lacks",
    GAUGE,
    "Answers that the process could not give by itself if it were cut off now.",
    "journal",
)
LINKS_MADE = _metric("links_made_total", COUNTER, "Links to endpoints that came up.", "journal")
LINKS_LOST = _metric("links_lost_total", COUNTER, "Links that went down.", "journal")
CUTS = _metric("cuts_total", COUNTER, "How often a destination was found cut off.", "journal")
SHIPPED = _metric(
    "shipped_total", COUNTER, "Deliveries put on a link, repetitions included.", "journal"
)
NO_ROUTE = _metric(
    "no_route_total",
    COUNTER,
    "Deliveries that came back because nobody was there to take them.",
    "journal",
)
FENCED = _metric(
    "fenced_total",
    COUNTER,
    "Outboxes that another opening of the same journal has put out of use: a copy is running.",
    "journal",
)
REFUSED = _metric(
    "refused_total",
    COUNTER,
    "Records that were answered here while cut off and refused at the centre: dead letters.",
    "journal",
)
ANSWERED_HERE = _metric(
    "answered_here_total",
    COUNTER,
    "Calls that this process answered by itself while cut off, write or read.",
    "journal",
    "kind",
)
HANDLED = _metric(
    "handled_total", COUNTER, "Deliveries of others that a listener here has handled.", "journal"
)
RECORDED = _metric(
    "recorded_total",
    COUNTER,
    "Records of others that were applied here, with their row in the inbox table.",
    "journal",
)
PUT_OFF = _metric(
    "put_off_total",
    COUNTER,
    "How often a record of others could not be applied yet, for trouble with the database.",
    "journal",
)
CONFLICTS = _metric(
    "conflicts_total",
    COUNTER,
    "Records of others that were refused here though their caller had been told of success.",
    "journal",
)
DENIED = _metric(
    "denied_total",
    COUNTER,
    "Those among the conflicts whose host does not speak for the object any more.",
    "journal",
)
ADMISSION_SLOTS = _metric(
    "admission_slots",
    GAUGE,
    "Entries of backlogs that are worked on at a time, [edge_bus] backlog_at_once.",
    "journal",
)
ADMISSION_AT_WORK = _metric(
    "admission_at_work", GAUGE, "Entries of backlogs that are worked on now.", "journal"
)
ADMISSION_IN_FLIGHT = _metric(
    "admission_in_flight",
    GAUGE,
    "Entries of backlogs that were granted and are not done.",
    "journal",
)
ADMISSION_WAITING = _metric(
    "admission_waiting_senders",
    GAUGE,
    "Senders that stand in line with a backlog.",
    "journal",
)
