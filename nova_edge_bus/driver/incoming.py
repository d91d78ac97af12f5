# SPDX-License-Identifier: Apache-2.0
"""Deliveries as oslo.messaging's servers see them."""

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from oslo_messaging._drivers import base

from nova_edge_bus import concurrency
from nova_edge_bus import errors
from nova_edge_bus import events
from nova_edge_bus.cell import audit
from nova_edge_bus.cell import fencing
from nova_edge_bus.cell import floors
from nova_edge_bus.cell import once
from nova_edge_bus.cell import ownership
from nova_edge_bus.cell import refusals
from nova_edge_bus.cell import replies
from nova_edge_bus.cell import transient
from nova_edge_bus.delivery import origins
from nova_edge_bus.driver import body
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import client as client_module

LOG = logging.getLogger(__name__)

_FOLDING = floors.Folding()
_PATIENCE = transient.Patience()


class RpcIncoming(base.RpcIncomingMessage):
    """A call or a cast on its way through an RPC server.

    :param note: what its sender knew when it answered the call itself
    """

    def __init__(
        self,
        client: client_module.Client,
        item: origins.Inbound,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        note: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(ctxt, message, msg_id=f"{item.origin.hex()}-{item.number}")
        self.message: Mapping[str, Any] = message
        self.client_timeout = item.monitor or None
        self._client = client
        self._item = item
        self._note = note
        self._applying: once.Applying | None = None

    def acknowledge(self) -> None:
        """The server is about to dispatch the message, in this thread.

        A command will not be dispatched again; a record may be, and is known by its effect.
        """
        self._client.begin(self._item)
        owned = ownership.ownership_of(self.message, self._item.identity)
        if self._item.kind == messages.Kind.RECORD:
            if self._note and self._note.get("base"):
                self.message = once.with_keys_merged(self.message, self._note["base"])
            fence = fencing.both(fencing.fence_of(self.message, self._note), owned)
            self._applying = once.begin(
                self._item.origin,
                self._item.number,
                fence,
                address=self._item.address,
                epoch=self._item.epoch,
            )
        elif owned is not None:
            once.guard(owned)

    def requeue(self) -> None:
        """Not for RPC."""
        raise NotImplementedError("RPC messages cannot be put back")

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """The message has been handled."""
        status, packed = messages.Status.OK, b""
        applying, self._applying = self._applying, None
        once.end()
        if applying is not None:
            reply, failure = self._judged(applying, reply, failure)
            if applying.was_fenced:
                self._client.fenced(self._item, applying.epoch)
                return
            if failure is not None and self._may_be_applied_later(failure):
                self._client.put_off(self._item)
                return
            if failure is not None and self._note is not None:
                denied = isinstance(failure[1], errors.Fenced)
                self._client.refused(self._item, denied=denied)
                LOG.warning(
                    events.CONFLICT, self._item.origin.hex(), self._item.number, failure[1]
                )
        elif self._note and audit.QUESTION in self._note:
            reply, failure = _audited(self._note)
        if self._item.kind in (messages.Kind.REQUEST, messages.Kind.RECORD):
            status, packed = _pack(reply, failure)
        if applying is not None and status == messages.Status.OK and applying.is_recorded:
            status = messages.Status.RECORDED
        self._client.finish(self._item, int(status), packed)
        if applying is not None:
            _FOLDING.fold(applying.engines, applying.outbox, applying.stream, self._item.floor)

    def _judged(self, applying: once.Applying, reply: Any, failure: Any) -> tuple[Any, Any]:
        """The outcome of an entry, which may have met what became of it before."""
        if failure is None:
            return (None, _refused_before()) if applying.was_refused else (reply, None)
        try:
            verdict = refusals.judge(
                applying, self.message, failure[1], answered=self._note is not None
            )
        except Exception:
            # Whatever the database has to say; the failure itself is what the caller is told.
            LOG.exception("cannot tell what became of an entry before")
            return reply, failure
        if verdict.is_applied:
            return replies.reply_to(self.message), None
        if verdict.text:
            failure[1].args = (f"{failure[1]} {verdict.text}",)
        return reply, failure

    def _may_be_applied_later(self, failure: Any) -> bool:
        """Whether nobody waits for the outcome, and the database's trouble may pass."""
        if self._note is None or not transient.is_passing(failure[1]):
            return False
        lasts = _PATIENCE.lasts(self._item.origin, self._item.number)
        LOG.warning(
            "outbox=%s seq=%s cannot be applied%s: %s",
            self._item.origin.hex(),
            self._item.number,
            " yet" if lasts else "",
            failure[1],
        )
        return lasts

    def heartbeat(self) -> None:
        """The server still works on the message."""
        self._client.heartbeat(self._item)


class NotificationIncoming(base.IncomingMessage):
    """A notification on its way through a notification listener."""

    def __init__(
        self,
        client: client_module.Client,
        item: origins.Inbound,
        ctxt: dict[str, Any],
        message: dict[str, Any],
    ) -> None:
        super().__init__(ctxt, message, msg_id=f"{item.origin.hex()}-{item.number}")
        self._client = client
        self._item = item

    def acknowledge(self) -> None:
        """The notification has been handled."""
        self._client.finish(self._item, int(messages.Status.OK), b"")

    def requeue(self) -> None:
        """Have the notification handed out again, by this process or its next life.

        The sender no longer has it. When this listener has stopped, another one gets it.
        """
        self._client.requeue(self._item)


class _Poller(base.PollStyleListener):
    """Turns what is in a mailbox into incoming messages."""

    def __init__(self, client: client_module.Client, listener: client_module.Listener) -> None:
        super().__init__()
        self._client = client
        self._listener = listener

    def poll(
        self,
        timeout: float | None = None,
        batch_size: int = 1,
        batch_timeout: float | None = None,
    ) -> list[base.IncomingMessage]:
        """See :class:`oslo_messaging._drivers.base.PollStyleListener`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            items = self._listener.box.poll(left, batch_size, batch_timeout)
            made = [self._make(item) for item in items]
            usable = [message for message in made if message is not None]
            if usable or not items:
                return usable

    def stop(self) -> None:
        """Take nothing more; polls go on giving what was taken before."""
        self._listener.stop()

    def cleanup(self) -> None:
        """Give the listener back."""
        self._listener.stop()

    def _make(self, item: origins.Inbound) -> base.IncomingMessage | None:
        """What the server gets to see of *item*, if it is worth anybody's while."""
        try:
            if _is_expired(item):
                raise TimeoutError("nobody waits for the call any more")
            ctxt, message, note = body.unpack(item.body)
        except (TimeoutError, TypeError, ValueError) as error:
            LOG.warning("not dispatching a message on %s: %s", item.address, error)
            # Else it would be reported as being worked on for ever.
            status, packed = _pack(None, (type(error), error, None))
            self._client.finish(item, int(status), packed)
            return None
        return self._incoming(item, ctxt, message, note)

    def _incoming(
        self,
        item: origins.Inbound,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        note: dict[str, Any] | None,
    ) -> base.IncomingMessage:
        raise NotImplementedError


class RpcPoller(_Poller):
    """The poller of an RPC server."""

    def _incoming(
        self,
        item: origins.Inbound,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        note: dict[str, Any] | None,
    ) -> base.IncomingMessage:
        return RpcIncoming(self._client, item, ctxt, message, note)


class NotificationPoller(_Poller):
    """The poller of a notification listener."""

    def _incoming(
        self,
        item: origins.Inbound,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        note: dict[str, Any] | None,
    ) -> base.IncomingMessage:
        return NotificationIncoming(self._client, item, ctxt, message)


def _refused_before() -> Any:
    """The failure of an entry whose effect was kept from happening."""
    error = refusals.Refused("the entry was refused before, and the answer to it was lost")
    return type(error), error, None


def _audited(note: Mapping[str, Any]) -> tuple[Any, Any]:
    """What the database has to say, as a reply and a failure."""
    try:
        return audit.answer(note), None
    except Exception:
        # It may be away for a while, and whoever asks asks again.
        LOG.warning("cannot look up what the database knows", exc_info=True)
        return None, sys.exc_info()


def _is_expired(item: origins.Inbound) -> bool:
    """Whether nobody waits for this call any more."""
    return item.deadline is not None and concurrency.monotonic() > item.deadline


def _pack(reply: Any, failure: Any) -> tuple[messages.Status, bytes]:
    """A reply's status and body; what cannot be sent becomes a failure that says so."""
    try:
        if failure is not None:
            status, packed = messages.Status.FAILURE, body.pack_failure(failure)
        else:
            status, packed = messages.Status.OK, body.pack_reply(reply)
        if len(packed) > body.MAX_BYTES:
            raise ValueError(f"a reply of {len(packed)} bytes; the bus carries {body.MAX_BYTES}")
        return status, packed
    except Exception as error:
        # Packing runs the code of the application's objects, which can raise anything, and
        # without any answer the caller would wait in vain.
        LOG.exception("cannot send a reply")
        return messages.Status.FAILURE, body.pack_failure((type(error), error, None))
