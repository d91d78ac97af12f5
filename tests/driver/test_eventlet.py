# SPDX-License-Identifier: Apache-2.0
"""The driver under eventlet, and where eventlet must not be touched."""

from __future__ import annotations

import time

import pytest

from tests.driver import journals
from tests.driver import scenes
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram

STALL_SECONDS = 2.0


@pytest.mark.parametrize("mode", ["--eventlet", "--no-eventlet"])
def test_everything_works_in_either_concurrency_model(
    run_program: RunProgram, topic: str, mode: str
) -> None:
    program = run_program("everything", mode=mode, topic=topic)
    assert program.expect("call") == {"a": [1, None]}
    assert program.expect("error") == "NoSuchMethod"
    program.expect("timeout")
    assert program.expect("casts") == list(range(20))
    assert program.expect("fanout") == ["fanout"]
    assert program.expect("large fanout") == [len("large") * scenes.LARGE]
    assert program.expect("notifications") == list(range(20))
    assert program.expect("concurrent calls") == list(range(20))
    eventlet_is_loaded = program.expect("closed")
    assert eventlet_is_loaded == (mode == "--eventlet")
    assert program.wait() == 0


def test_greenlets_and_threads_understand_each_other(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("serve", mode="--eventlet", topic=topic, server="green")
    program.expect("serving")
    client = make_peer().client(topic)
    assert client.call({}, "who") == "green"
    for value in range(10):
        client.cast({}, "put", value=value)
    assert [program.expect("put") for _ in range(10)] == list(range(10))
    program.tell("close")
    program.expect("closed")
    assert program.wait() == 0


def test_the_hub_goes_on_while_the_disk_stalls(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("tick", mode="--eventlet", topic=topic)
    program.expect("ready")
    journal = journals.only(make_peer(journal="journal").journal_dir)
    for word in ("cast", "notify", "close", "open"):
        with journals.stalled(journal):
            program.tell(word)
            time.sleep(STALL_SECONDS)
        took, gap = program.expect(word)
        print(f"{word}: took {took:.3f} s, the hub was held up for {gap:.3f} s")
        assert word == "close" or took > STALL_SECONDS / 2
        assert gap < STALL_SECONDS / 4, word


def test_the_hub_goes_on_while_what_was_received_waits_for_the_disk(
    make_peer: MakePeer, run_program: RunProgram, topic: str
) -> None:
    program = run_program("tick", mode="--eventlet", topic=topic)
    program.expect("ready")
    journal = journals.only(make_peer(journal="journal").journal_dir)
    sender = make_peer()
    with journals.stalled(journal):
        sender.client(topic).cast({}, "put", value="waits")
        time.sleep(STALL_SECONDS / 2)
        program.tell("call")
        took, gap = program.expect("call")
        print(f"call: took {took:.3f} s, the hub was held up for {gap:.3f} s")
        assert gap < STALL_SECONDS / 4
    assert program.expect("put") == "waits"
