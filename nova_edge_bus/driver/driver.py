# SPDX-License-Identifier: Apache-2.0
"""The driver object that oslo.messaging makes for each transport."""

import dataclasses
import threading
import time
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging._drivers import base

from nova_edge_bus import addressing
from nova_edge_bus import contracts
from nova_edge_bus import errors
from nova_edge_bus.autonomy import prefetch
from nova_edge_bus.driver import body
from nova_edge_bus.driver import configuration
from nova_edge_bus.driver import incoming
from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import client as client_module
from nova_edge_bus.runtime import pending

MAX_ADDRESS = 2048
"""Characters of an address; a listener pool's name still fits behind it."""
RETRY_INTERVAL = 1.0
"""Seconds that one of the attempts counted by ``retry`` stands for."""


class EdgeBusDriver(base.BaseDriver):
    """Carries RPC and notifications over known endpoints, with a local journal.

    The constructor reads the configuration and does nothing else: services make transports in
    parents that fork and never use them. Everything is made on first use, in the using process.

    :raises ConfigurationError: when the URL or an option cannot be used
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        url: oslo_messaging.TransportURL,
        default_exchange: str | None = None,
        allowed_remote_exmods: list[str] | None = None,
    ) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        self._settings = configuration.read(conf, url)
        self._client: client_module.Client | None = None
        self._lock = threading.Lock()

    def require_features(self, requeue: bool = False) -> None:
        """Requeueing notifications is supported, so nothing is refused."""

    def send(
        self,
        target: oslo_messaging.Target,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,
        retry: int | None = None,
        transport_options: Any = None,
    ) -> Any:
        """Send an RPC message under its contract; see :mod:`nova_edge_bus.contracts`.

        A cast returns when it is on the local disk.

        :raises MessagingTimeout: when the reply did not come in time
        :raises MessageUndeliverable: when a mandatory message has no taker
        :raises MessageDeliveryFailure: when no endpoint was linked within ``retry`` attempts, or
            the journal could not take the message
        """
        terms = contracts.classify(
            message,
            is_call=bool(wait_for_reply),
            fanout=bool(target.fanout),
            overrides=dict(self._settings.contracts),
        )
        if terms.journaled and contracts.acts_on_objects(message):
            # It may lie in the journal for as long as a cut lasts, and longer.
            ctxt = body.without_credentials(ctxt)
        call = client_module.Call(
            address=self._address(target).text,
            group=terms.group,
            method=terms.method,
            body=body.pack(ctxt, message),
            timeout=timeout,
            monitor=call_monitor_timeout,
            repeatable=terms.repeatable,
            mandatory=bool(getattr(transport_options, "at_least_once", False)),
            refusable=terms.contract is contracts.Contract.REFUSE,
            is_learned=_is_learned(message),
            mergeable=terms.contract is contracts.Contract.MERGE,
            conditional=bool((message.get("args") or {}).get("kwargs")),
            goes_last=terms.last,
            wants_the_centre=prefetch.is_asked_once(message),
        )
        with _Translated(call, target, message):
            return self._send(call, terms, bool(wait_for_reply), retry)

    def send_notification(
        self,
        target: oslo_messaging.Target,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        version: float,
        retry: int | None = None,
    ) -> None:
        """Journal a notification; it is shipped as soon as somebody listens for it.

        :raises MessageDeliveryFailure: when the journal could not take it
        """
        call = client_module.Call(
            address=self._address(target).text,
            group="",
            method=str(message.get("event_type", "notification")),
            body=body.pack(ctxt, message),
        )
        with _Translated(call, target, message):
            self._use().notify(call)

    def listen(
        self, target: oslo_messaging.Target, batch_size: int, batch_timeout: float | None
    ) -> base.Listener:
        """Take what is sent to the topic, to this server of it, and to all of its servers."""
        topic = self._address(target, server=False).text
        addresses = [topic, self._address(target).text]
        listener = self._use().listen(addresses, [topic], "")
        poller = incoming.RpcPoller(self._use(), listener)
        return base.PollStyleListenerAdapter(poller, batch_size, batch_timeout)

    def listen_for_notifications(
        self,
        targets_and_priorities: list[tuple[oslo_messaging.Target, str]],
        pool: str | None,
        batch_size: int,
        batch_timeout: float | None,
    ) -> base.Listener:
        """Take the notifications of these topics and priorities, one copy for each pool."""
        addresses = [
            self._address(target, suffix=f".{priority}", server=False).text
            for target, priority in targets_and_priorities
        ]
        listener = self._use().listen(sorted(addresses), [], pool or "")
        poller = incoming.NotificationPoller(self._use(), listener)
        return base.PollStyleListenerAdapter(poller, batch_size, batch_timeout)

    def cleanup(self) -> None:
        """Release everything; the last driver object of a process ends its threads.

        Waits for the outbox to drain, [edge_bus] linger seconds at the most. What is left stays
        in the journal and is shipped by the next process that opens it.
        """
        with self._lock:
            client, self._client = self._client, None
        if client is not None and client.is_ours:
            client.close()

    def _send(
        self,
        call: client_module.Call,
        terms: contracts.Terms,
        wait_for_reply: bool,
        retry: int | None,
    ) -> Any:
        client = self._use()
        if terms.contract is contracts.Contract.DROP:
            client.fanout(call.address, call.body)
            return None
        if not wait_for_reply:
            client.command(call)
            return None
        if terms.journaled:
            status, reply = client.record(call)
        else:
            if retry is not None and retry >= 0:
                call = self._await_link(client, call, retry)
            status, reply = client.request(call)
        if status == messages.Status.OK:
            return body.unpack_reply(reply)
        raise body.unpack_failure(reply, self._allowed_remote_exmods)

    @staticmethod
    def _await_link(
        client: client_module.Client, call: client_module.Call, retry: int
    ) -> client_module.Call:
        """Wait for a link; the call with the time that it then has left.

        :raises TimeoutError: when the call's own time is up before the attempts are
        """
        attempts = (retry + 1) * RETRY_INTERVAL
        limit = attempts if call.timeout is None else min(attempts, call.timeout)
        began = time.monotonic()
        if not client.await_link(limit):
            if limit < attempts:
                raise TimeoutError
            raise oslo_messaging.MessageDeliveryFailure(
                f"no endpoint was linked within {retry + 1} attempts"
            )
        if call.timeout is None:
            return call
        return dataclasses.replace(call, timeout=call.timeout - (time.monotonic() - began))

    def _use(self) -> client_module.Client:
        """This process's use of the bus, made when it is first wanted."""
        client = self._client
        if client is not None and client.is_ours:
            return client
        with self._lock:
            if self._client is None or not self._client.is_ours:
                self._client = client_module.Client(self._settings)
            return self._client

    def _address(
        self, target: oslo_messaging.Target, *, suffix: str = "", server: bool = True
    ) -> addressing.Address:
        address = addressing.Address(
            vhost=self._settings.vhost,
            exchange=target.exchange or self._default_exchange or "",
            topic=target.topic + suffix,
            server=target.server or "" if server and not target.fanout else "",
        )
        if len(address.text) > MAX_ADDRESS:
            raise oslo_messaging.InvalidTarget(
                f"its address has {len(address.text)} characters; the bus takes {MAX_ADDRESS}",
                target,
            )
        return address


def _is_learned(message: dict[str, Any]) -> bool:
    """Whether the reply tells something of the central state: of objects, or that it is there."""
    return str(message.get("method", "")) in (
        "object_action",
        "object_class_action_versions",
        "ping",
    )


class _Translated:
    """Turns the bus's errors into those that oslo.messaging's callers handle."""

    def __init__(
        self,
        call: client_module.Call,
        target: oslo_messaging.Target,
        message: dict[str, Any],
    ) -> None:
        self._call = call
        self._target = target
        self._message = message
        self._began = time.monotonic()

    def __enter__(self) -> None:
        if len(self._call.body) > body.MAX_BYTES:
            raise oslo_messaging.MessageDeliveryFailure(
                f"{self._call.method} has {len(self._call.body)} bytes; "
                f"the bus carries {body.MAX_BYTES}"
            )

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        call = self._call
        if isinstance(error, TimeoutError):
            waited = time.monotonic() - self._began
            raise oslo_messaging.MessagingTimeout(
                f"no reply to {call.method} on {call.address} within {waited:.1f} s"
            ) from error
        if isinstance(error, pending.Undeliverable):
            raise oslo_messaging.MessageUndeliverable(
                error, self._target.exchange, self._target.topic, self._message
            ) from error
        if isinstance(error, errors.EdgeBusError):
            raise oslo_messaging.MessageDeliveryFailure(str(error)) from error
