# SPDX-License-Identifier: Apache-2.0
"""An operator's contracts bear on what the driver sends."""

from __future__ import annotations

import oslo_messaging
import pytest

from tests.driver import journals
from tests.driver.conftest import MakePeer
from tests.driver.peers import Peer
from tests.driver.peers import instance


def left_in_the_outbox(caller: Peer, topic: str) -> int:
    """How many entries a save leaves that nobody takes."""
    client = caller.client(topic, timeout=0.5)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        client.call({}, "object_action", objinst=instance("one"), objmethod="save")
    return journals.pending(journals.only(caller.journal_dir))


def test_a_record_that_is_overridden_is_not_journaled(make_peer: MakePeer, topic: str) -> None:
    assert left_in_the_outbox(make_peer(), topic) == 1
    relaying = make_peer(contracts={"Instance.save": "relay"})
    assert left_in_the_outbox(relaying, topic) == 0
