# SPDX-License-Identifier: Apache-2.0
"""Simulated computes: what each says to its endpoints, over the driver's own links.

A member has what a nova-compute has towards an endpoint: the link with its session, its socket
and its pauses before it dials again. It has no journal and no nova above it. Thousands of them
live on one thread (:mod:`bench.crowd_loop`), which a compute has for itself.
"""

import dataclasses
import os
import typing

import zmq

from bench import bodies
from nova_edge_bus import addressing
from nova_edge_bus import settings as settings_module
from nova_edge_bus.driver import body
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import session
from nova_edge_bus.runtime import link as links
from nova_edge_bus.runtime import runtime

CONDUCTOR = addressing.Address("", "nova", "conductor")
COMPUTE = addressing.Address("", "nova", "compute")
TELL_WITHIN = 5.0
"""Seconds after the welcome in which a peer tells the endpoint how it is."""
_LISTENER = 1
_NUMBER_OF_A_BODY = 4096
_TOLD = messages.Report(messages.PeerState.LINKED, 0, 0, 0, 0, 0, 0, "simulated")


class Line:
    """One link of a member, with what its loop notes about it."""

    __slots__ = ("consumers", "due", "link", "member", "routed_at", "up", "up_at", "watched")

    def __init__(self, member: "Member", link: links.Link) -> None:
        self.member = member
        self.link = link
        self.up = False
        self.up_at = 0.0
        self.routed_at = 0.0
        self.due = float("inf")
        self.watched: dict[zmq.Socket[bytes], int] = {}
        self.consumers: list[messages.Consumer] = []


class Member:
    """A process that is linked to all endpoints.

    :param network: the first three numbers of the addresses on loopback to dial from, one for each
        endpoint: an address has ports for some 28,000 connections
    """

    __slots__ = ("_hello", "_listen", "host", "lines", "number", "replied", "reported")

    service: typing.ClassVar[str]

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        settings: settings_module.Settings,
        number: int,
        network: str,
    ) -> None:
        self.number = number
        self.host = settings.host
        self.reported = 0
        self.replied = 0
        self._listen = self._announcement()
        self._hello = messages.Hello(
            oldest_version=session.OLDEST_VERSION,
            newest_version=messages.PROTOCOL_VERSION,
            peer=os.urandom(session.ID_BYTES),
            outbox=os.urandom(session.ID_BYTES),
            epoch=1,
            nonce=os.urandom(session.ID_BYTES),
            host=settings.host,
            service=self.service,
            window_messages=runtime.WINDOW_MESSAGES,
            window_bytes=runtime.WINDOW_BYTES,
        )
        self.lines = []
        for place, address in enumerate(settings.endpoints, 1):
            link = links.Link(context, address, lambda: self._hello, settings)
            # What ZeroMQ is told to dial: SOURCE;TARGET.
            link.address = f"tcp://{network}.{place}:0;{address.removeprefix('tcp://')}"
            self.lines.append(Line(self, link))

    def _announcement(self) -> messages.Listen:
        raise NotImplementedError

    def begin(self, line: Line) -> None:
        """A link has come up: say what a driver's runtime says then."""
        line.link.queue(self._listen)

    def take(self, line: Line, message: messages.Message, now: float) -> None:
        """Something has come for this process."""
        line.link.consumed(message)


class Compute(Member):
    """A nova-compute: it asks who takes the conductor's topic, and reports its state there."""

    __slots__ = ("_owes",)

    service = "nova-compute"

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        settings: settings_module.Settings,
        number: int,
        network: str,
    ) -> None:
        super().__init__(context, settings, number, network)
        self._owes = False

    def _announcement(self) -> messages.Listen:
        own = dataclasses.replace(COMPUTE, server=self.host)
        return messages.Listen(_LISTENER, [COMPUTE.text, own.text], [COMPUTE.text], "")

    def begin(self, line: Line) -> None:
        """See :meth:`Member.begin`."""
        super().begin(line)
        line.link.queue(messages.Lookup([CONDUCTOR.text]))

    def tell(self, line: Line) -> None:
        """Tell the endpoint how the journal is."""
        line.link.queue(_TOLD)

    def take(self, line: Line, message: messages.Message, now: float) -> None:
        """See :meth:`Member.take`."""
        super().take(line, message, now)
        if isinstance(message, messages.Routes):
            if message.consumers and not line.consumers:
                line.routed_at = now
            line.consumers = message.consumers
            if self._owes:
                self.report()
        elif isinstance(message, messages.Reply):
            self.replied += 1

    def report(self) -> Line | None:
        """Save the service, as nova does every ten seconds; return the link that takes it.

        Without a link the heartbeats merge into one, which goes when there is one.
        """
        first = self.number + self.reported
        for turn in range(len(self.lines)):
            line = self.lines[(first + turn) % len(self.lines)]
            if line.up and line.consumers:
                self._owes = False
                self.reported += 1
                line.link.queue(self._heartbeat(line.consumers[0]))
                return line
        self._owes = True
        return None

    def _heartbeat(self, consumer: messages.Consumer) -> messages.Deliver:
        return messages.Deliver(
            to=consumer.peer,
            listener=consumer.listener,
            reply_to=None,
            outbox=self._hello.outbox,
            epoch=1,
            kind=int(messages.Kind.RECORD),
            number=self.reported,
            floor=self.reported,
            after=0,
            group=f"host:{self.host}",
            address=CONDUCTOR.text,
            remaining=60_000,
            monitor=0,
            body=heartbeat(self.host, self.number, self.reported),
        )


class Consumer(Member):
    """A stand-in for nova-conductor: it answers every call at once."""

    __slots__ = ()

    service = "nova-conductor"
    _REPLY = body.pack_reply([{"obj_what_changed": []}, None])

    def _announcement(self) -> messages.Listen:
        own = dataclasses.replace(CONDUCTOR, server=self.host)
        return messages.Listen(_LISTENER, [CONDUCTOR.text, own.text], [CONDUCTOR.text], "")

    def take(self, line: Line, message: messages.Message, now: float) -> None:
        """See :meth:`Member.take`."""
        super().take(line, message, now)
        if isinstance(message, messages.Deliver):
            self.replied += 1
            status = int(messages.Status.RECORDED)
            to, outbox = message.reply_to or b"", message.outbox or b""
            line.link.queue(
                messages.Reply(to, outbox, message.kind, message.number, status, self._REPLY)
            )


def heartbeat(host: str, number: int, count: int) -> bytes:
    """The body of a ``Service.save`` as nova-compute's report_state sends it."""
    context = bodies.context(bodies.request_id(number % _NUMBER_OF_A_BODY, count))
    data = {
        "id": number + 1,
        "uuid": f"{number:08x}-0000-4000-8000-{number:012x}",
        "host": host,
        "binary": "nova-compute",
        "topic": "compute",
        "report_count": count,
        "disabled": False,
        "disabled_reason": None,
        "availability_zone": None,
        "last_seen_up": "2025-03-01T06:00:00Z",
        "forced_down": False,
        "version": 70,
        "created_at": "2025-03-01T05:00:00Z",
        "updated_at": "2025-03-01T06:00:00Z",
        "deleted_at": None,
        "deleted": False,
    }
    service = {
        "nova_object.name": "Service",
        "nova_object.namespace": "nova",
        "nova_object.version": "1.22",
        "nova_object.data": data,
        "nova_object.changes": ["report_count", "last_seen_up"],
    }
    arguments = {"objinst": service, "objmethod": "save", "args": [], "kwargs": {}}
    message = {"method": "object_action", "version": "3.0", "args": arguments}
    return body.pack(context, message)
