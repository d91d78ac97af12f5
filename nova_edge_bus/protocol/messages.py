# SPDX-License-Identifier: Apache-2.0
"""The messages of the wire, version 1: one class a message, one table that numbers them.

On the wire a message is the msgpack array ``[code, field, ...]`` with the fields in the order of
its class. A field that holds ``None`` is packed as nil. New fields are only ever appended, so
that a reader of an older version can ignore what it does not know; :data:`APPENDED` counts them.

Ids: a *peer id* (8 random bytes) names one process for its life time and is where answers go; an
*outbox id* (8 random bytes) names a journal for ever. The endpoint fills in ``reply_to``,
``identity``, ``sender`` and an absent ``outbox`` from the session that a message came by, so that
a peer can speak only as itself.
"""

import typing

from nova_edge_bus.protocol import values

PROTOCOL_VERSION = 1


Kind = values.Kind
Status = values.Status
Refusal = values.Refusal
Rejection = values.Rejection
PeerState = values.PeerState


class Consumer(typing.NamedTuple):
    """One listener that takes the messages of an address, as ROUTES lists it."""

    peer: bytes
    listener: int
    inbox: bytes
    pool: str
    admits: bool = False


class Hello(typing.NamedTuple):
    """Peer to endpoint, first of a session: who speaks, and how much it can be sent.

    ``outbox`` is empty for a peer without a journal. ``compress`` tells whether the peer wants
    compressed packets, which pays where the link is narrower than the processors are slow, and
    ``history`` how many bytes of what was said the peer would keep in each direction for that.
    """

    oldest_version: int
    newest_version: int
    peer: bytes
    outbox: bytes
    epoch: int
    nonce: bytes
    host: str
    service: str
    window_messages: int
    window_bytes: int
    compress: bool = True
    history: int = 0


class Welcome(typing.NamedTuple):
    """Endpoint to peer: the session stands. ``heartbeat`` and ``spread`` are in milliseconds.

    ``spread`` is the time over which its peers are to spread their next HELLOs, should it go.
    ``history`` is how many bytes of what was said both keep, no more than the HELLO has offered.
    """

    version: int
    endpoint: bytes
    heartbeat: int
    window_messages: int
    window_bytes: int
    spread: int = 0
    history: int = 0


class Reject(typing.NamedTuple):
    """Endpoint to peer: no session, with a reason that an operator can read."""

    code: int
    text: str


class Reset(typing.NamedTuple):
    """Endpoint to peer: this session is not known here, begin again with HELLO."""


class Ping(typing.NamedTuple):
    """Either way, when nothing else was said for a heartbeat: answer with PONG."""

    token: int


class Pong(typing.NamedTuple):
    """The answer to PING, with its token."""

    token: int


class Goodbye(typing.NamedTuple):
    """Either way: the session ends now, on purpose."""

    text: str


class Credit(typing.NamedTuple):
    """Either way: how much has been taken off this session since it began, cumulative."""

    messages: int
    size: int


class Listen(typing.NamedTuple):
    """Peer to endpoint: a listener takes these addresses, and fanouts to these topics.

    One that ``admits`` gives credit for the entries of a backlog, see :class:`Want`.
    """

    listener: int
    addresses: list[str]
    fanouts: list[str]
    pool: str
    admits: bool = False


class Listening(typing.NamedTuple):
    """Endpoint to peer: the listener is in the directory."""

    listener: int


class Unlisten(typing.NamedTuple):
    """Peer to endpoint: the listener takes nothing more."""

    listener: int


class Lookup(typing.NamedTuple):
    """Peer to endpoint: tell me the consumers of these addresses, now and when they change."""

    addresses: list[str]


class Routes(typing.NamedTuple):
    """Endpoint to peer: the consumers of an address (each a :class:`Consumer`), maybe none.

    The list begins at a different consumer for each peer that asks, so that senders which send
    one message only still take turns.
    """

    address: str
    consumers: list[Consumer]


class Forget(typing.NamedTuple):
    """Peer to endpoint: changes of these addresses are of no interest any more."""

    addresses: list[str]


class Report(typing.NamedTuple):
    """Peer to endpoint: how the peer and its journals are, for operators to see.

    ``state`` is a :class:`PeerState`. ``pending`` counts entries, ``oldest`` is for how many
    milliseconds the oldest of them has waited. ``dead`` counts the dead letters, of which
    ``conflicts`` were refused because the centre had moved on, and ``fenced`` because the object
    is not this host's any more. ``fill`` is how full the fullest journal is, in percent of what
    appends may use, and ``version`` that of this package.
    """

    state: int
    pending: int
    oldest: int
    dead: int
    conflicts: int
    fenced: int
    fill: int
    version: str


class Deliver(typing.NamedTuple):
    """Sender to consumer: one call or one entry.

    ``number`` is the seq of an entry or the number of a call, ``floor`` the lowest number of the
    sender (per kind of numbering) that is not settled, ``after`` the number that must be done
    before this one (0: none), ``remaining`` and ``monitor`` milliseconds (0: none).
    ``address`` is followed by ``#POOL`` where the copy for one listener pool is meant. ``body``
    is opaque to all but driver and contracts. ``identity`` is whom the sender's key belongs to, as
    ``ROLE:HOST``; empty where it has none.
    """

    to: bytes
    listener: int
    reply_to: bytes | None
    outbox: bytes | None
    epoch: int
    kind: int
    number: int
    floor: int
    after: int
    group: str
    address: str
    remaining: int
    monitor: int
    body: bytes
    identity: str = ""


class Accept(typing.NamedTuple):
    """Consumer to sender: these entries are durable here, and the consumer's from now on.

    ``numbers`` is a list of inclusive ranges ``[first, last]``.
    """

    to: bytes
    outbox: bytes
    numbers: list[list[int]]
    sender: bytes | None = None


class Reply(typing.NamedTuple):
    """Consumer to sender: a call or a record has been applied, with what it returned."""

    to: bytes
    outbox: bytes
    kind: int
    number: int
    status: int
    body: bytes
    sender: bytes | None = None


class Holding(typing.NamedTuple):
    """Consumer to sender: still at work on these, do not send them again.

    ``monitor`` is true when the server itself sent a call-monitor heartbeat.
    """

    to: bytes
    outbox: bytes
    kind: int
    numbers: list[int]
    monitor: bool
    sender: bytes | None = None


class Refuse(typing.NamedTuple):
    """Consumer or endpoint to sender: these were not taken, see :class:`Refusal`."""

    to: bytes
    outbox: bytes
    kind: int
    numbers: list[int]
    code: int
    text: str
    sender: bytes | None = None


class Fanout(typing.NamedTuple):
    """Sender to every listener of a topic that is there now; kept by nobody."""

    sender: bytes | None
    number: int
    address: str
    body: bytes


class FanoutSent(typing.NamedTuple):
    """Endpoint to sender: the fanout was passed on to so many peers."""

    number: int
    reached: int


class Want(typing.NamedTuple):
    """Sender to consumer: so many entries of a stream's backlog wait here for credit.

    ``address`` is that of the deliveries. The backlog is what has a seq up to ``through``.
    ``entries`` takes the place of what was said before. ``unused`` is how much of the credit that
    has come since is given back.
    """

    to: bytes
    reply_to: bytes | None
    outbox: bytes | None
    address: str
    through: int
    entries: int
    unused: int = 0


class Grant(typing.NamedTuple):
    """Consumer to sender: so many more of those may come, maybe none yet.

    Before ``patience`` milliseconds are over the sender need not ask again.
    """

    to: bytes
    sender: bytes | None
    outbox: bytes
    address: str
    entries: int
    patience: int


Message = (
    Hello
    | Welcome
    | Reject
    | Reset
    | Ping
    | Pong
    | Goodbye
    | Credit
    | Listen
    | Listening
    | Unlisten
    | Lookup
    | Routes
    | Forget
    | Report
    | Deliver
    | Accept
    | Reply
    | Holding
    | Refuse
    | Fanout
    | FanoutSent
    | Want
    | Grant
)

CODES: dict[type[Message], int] = {
    Hello: 1,
    Welcome: 2,
    Reject: 3,
    Reset: 4,
    Ping: 5,
    Pong: 6,
    Goodbye: 7,
    Credit: 8,
    Listen: 16,
    Listening: 17,
    Unlisten: 18,
    Lookup: 19,
    Routes: 20,
    Forget: 21,
    Report: 22,
    Deliver: 32,
    Accept: 33,
    Reply: 34,
    Holding: 35,
    Refuse: 36,
    Fanout: 37,
    FanoutSent: 38,
    Want: 39,
    Grant: 40,
}

CLASSES: dict[int, type[Message]] = {code: cls for cls, code in CODES.items()}

CREDITED = frozenset({Deliver, Accept, Reply, Holding, Refuse, Fanout, FanoutSent, Want, Grant})
"""The messages that are sent on to others and so count against a session's credit."""

APPENDED: dict[type[tuple[typing.Any, ...]], int] = {
    Hello: 1,
    Welcome: 2,
    Listen: 1,
    Consumer: 1,
    Deliver: 1,
    Accept: 1,
    Reply: 1,
    Holding: 1,
    Refuse: 1,
    Want: 1,
}
"""How many fields at the end of a message are left out where they have their defaults."""
