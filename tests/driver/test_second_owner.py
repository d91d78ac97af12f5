# SPDX-License-Identifier: Apache-2.0
"""Two processes that own copies of one journal: the newer one has been heard of, and is gone."""

from __future__ import annotations

import shutil

import pytest

from tests.driver import journals
from tests.driver.conftest import MakePeer
from tests.driver.peers import WAIT_SECONDS
from tests.driver.peers import Recorder
from tests.driver.peers import await_drained
from tests.nova.processes import wait_until


@pytest.mark.parametrize("is_restarted", [False, True], ids=["same-life", "next-life"])
def test_commands_of_an_older_owner_are_not_taken(
    make_peer: MakePeer, topic: str, caplog: pytest.LogCaptureFixture, is_restarted: bool
) -> None:
    """Nor by a receiver that was started again, and an endpoint that has no session of either."""
    recorder = Recorder()
    receiver = make_peer(journal="receiver")
    receiver.serve(topic, "first", recorder)
    older = make_peer(journal="older")
    older.client(topic).cast({}, "put", value="before")
    assert recorder.take(1) == ["before"]
    await_drained(older)
    shutil.copytree(older.journal_dir, older.journal_dir.with_name("newer"))
    newer = make_peer(journal="newer")
    newer.client(topic).cast({}, "put", value="newer")
    assert recorder.take(1) == ["newer"]
    await_drained(newer)
    newer.close()
    if is_restarted:
        receiver.close()
        receiver = make_peer(journal="receiver")
        receiver.serve(topic, "first", recorder)
    older.client(topic).cast({}, "put", value="older")
    wait_until(lambda: " is fenced" in caplog.text, WAIT_SECONDS, "the older owner to be told")
    assert recorder.rest() == []
    assert journals.pending(journals.only(older.journal_dir)) == 1
    last = make_peer(journal="newer")
    last.client(topic).cast({}, "put", value="last")
    assert recorder.take(1) == ["last"]
