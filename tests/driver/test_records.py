# SPDX-License-Identifier: Apache-2.0
"""Records: calls that change state, journaled and applied whatever the caller sees."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import oslo_messaging
import pytest

from tests.driver import journals
from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.driver.peers import instance
from tests.nova.processes import wait_until


class Conductor(Recorder):
    """Takes what nova-compute asks of objects; a save can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def object_action(self, ctxt: Any, objinst: Any, objmethod: str, value: int) -> list[Any]:
        self.queue.put([objmethod, value])
        if objmethod == "save":
            self.gate.wait(WAIT_SECONDS)
        if value < 0:
            raise ValueError("below zero")
        return [objmethod, value]


class Contexts(Recorder):
    """Keeps the context of each thing that it is asked."""

    def object_action(self, ctxt: Any, **arguments: Any) -> list[Any]:
        self.queue.put(_as_sent(ctxt))
        return [{}, None]

    def object_class_action_versions(self, ctxt: Any, **arguments: Any) -> None:
        self.queue.put(_as_sent(ctxt))

    def build_instances(self, ctxt: Any) -> None:
        self.queue.put(_as_sent(ctxt))


def _as_sent(ctxt: Any) -> dict[str, Any]:
    return {key: ctxt[key] for key in ("request_id", "auth_token", "service_catalog")}


def save(client: Any, value: int, uuid: str = "one") -> Any:
    """Make the call that Instance.save() is: a journaled record."""
    return client.call({}, "object_action", objinst=instance(uuid), objmethod="save", value=value)


def test_a_record_is_answered_by_the_server(make_peer: MakePeer, topic: str) -> None:
    conductor = Conductor()
    make_peer().serve(topic, "here", conductor)
    caller = make_peer()
    assert save(caller.client(topic), 1) == ["save", 1]
    with pytest.raises(ValueError, match="below zero"):
        save(caller.client(topic), -1)
    journal = journals.only(caller.journal_dir)
    wait_until(lambda: journals.counter(journal, "applied") == 2, WAIT_SECONDS, "the outcome")
    assert journals.pending(journal) == 0


def test_no_token_lies_in_a_journal_that_is_not_needed_there(
    make_peer: MakePeer, topic: str
) -> None:
    """An object action needs none; a command may, and goes with what it was given."""
    taker, caller = Contexts(), make_peer()
    make_peer().serve(topic, "here", taker)
    ctxt = {
        "request_id": "req-1",
        "auth_token": "gAAAA-record",
        "service_catalog": [{"type": "volumev3", "endpoints": ["http://secret-url"]}],
    }
    client = caller.client(topic)
    client.call(ctxt, "object_action", objinst=instance("one"), objmethod="save")
    client.call(ctxt, "object_action", objinst=instance("one"), objmethod="refresh")
    read = {"objname": "TaskLog", "objmethod": "begin_task", "objver": "1.1"}
    client.call(ctxt, "object_class_action_versions", **read)
    client.cast({**ctxt, "auth_token": "gAAAA-command"}, "build_instances")
    saved, refreshed, begun, built = taker.take(4)
    nobody = {"auth_token": None, "service_catalog": None}
    assert saved == {**ctxt, **nobody}
    assert refreshed == begun == ctxt
    assert built["auth_token"] == "gAAAA-command"
    assert built["service_catalog"] == ctxt["service_catalog"]
    written = b"".join(path.read_bytes() for path in caller.journal_dir.glob("*.db*"))
    assert b'"req-1"' in written
    assert b"gAAAA-command" in written
    assert b"gAAAA-record" not in written


def test_a_record_that_times_out_is_applied_all_the_same(make_peer: MakePeer, topic: str) -> None:
    conductor = Conductor()
    caller = make_peer()
    for value in range(3):
        with pytest.raises(oslo_messaging.MessagingTimeout):
            save(caller.client(topic, timeout=0.5), value)
    journal = journals.only(caller.journal_dir)
    assert journals.pending(journal) == 3
    make_peer().serve(topic, "here", conductor)
    wait_until(lambda: journals.pending(journal) == 0, WAIT_SECONDS, "the outbox to drain")
    assert conductor.rest() == [["save", 0], ["save", 1], ["save", 2]]


def test_a_call_waits_for_the_records_of_its_instance(make_peer: MakePeer, topic: str) -> None:
    conductor = Conductor()
    taker, caller = make_peer(), make_peer()
    client = caller.client(topic)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        save(caller.client(topic, timeout=0.5), 1)
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        reading = callers.submit(
            client.call, {}, "object_action", objinst=instance("one"), objmethod="refresh", value=2
        )
        conductor.gate.clear()
        taker.serve(topic, "here", conductor)
        assert conductor.take(1) == [["save", 1]]
        # Another instance's calls are not held up.
        assert client.call(
            {}, "object_action", objinst=instance("two"), objmethod="refresh", value=3
        ) == ["refresh", 3]
        assert conductor.take(1) == [["refresh", 3]]
        assert not reading.done()
        conductor.gate.set()
        assert reading.result(WAIT_SECONDS) == ["refresh", 2]
