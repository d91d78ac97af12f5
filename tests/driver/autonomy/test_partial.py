# SPDX-License-Identifier: Apache-2.0
"""Part of the centre is lost: what is left of it serves on."""

from __future__ import annotations

import os
import signal

from tests.driver.autonomy.conftest import MakeEdge
from tests.driver.autonomy.roles import LINK_TIMEOUT
from tests.driver.autonomy.roles import NOTICED
from tests.driver.autonomy.roles import Conductor
from tests.driver.autonomy.roles import changed
from tests.driver.autonomy.roles import timed
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows


def test_one_endpoint_of_two_is_no_cut_when_it_is_killed(
    make_edge: MakeEdge,
    make_endpoint: MakeEndpoint,
    make_peer: MakePeer,
    conductor: Conductor,
    topic: str,
    uuid: str,
) -> None:
    endpoints = [make_endpoint(), make_endpoint()]
    url = "edgebus://" + ",".join(each.address for each in endpoints) + "/"
    make_peer(url, link_timeout=LINK_TIMEOUT).serve(topic, "here", conductor)
    edge = make_edge(url=url)
    edge.save(uuid, power_state=3)
    for value, endpoint in enumerate(endpoints, 4):
        endpoint.kill()
        known = edge.instance(uuid)
        updates, _ = edge.act(changed(known, {"power_state": value}), "save")
        # Nobody but the centre says when that was.
        assert "updated_at" in updates
        endpoint.start()
        edge.await_linked()
    assert conductor.saves("Instance", "power_state") == [3, 4, 5]


def test_a_frozen_consumer_of_two_is_replaced(
    make_edge: MakeEdge,
    make_peer: MakePeer,
    run_program: RunProgram,
    centre: centres.Centre,
) -> None:
    uuids = [rows.instance(centre).uuid for _ in range(4)]
    program = run_program(
        "conduct",
        journal="centre",
        topic="two-centres",
        path=centre.path,
        link_timeout=LINK_TIMEOUT,
    )
    program.expect("serving")
    conductor = Conductor(centre)
    serving = make_peer(host="centre", link_timeout=LINK_TIMEOUT)
    serving.serve("two-centres", "other", conductor)
    edge = make_edge(topic="two-centres", direct=True, consumer_grace=1.0)
    known = [edge.instance(uuid) for uuid in uuids]
    os.kill(program.pid, signal.SIGSTOP)
    for target in known:
        _, took = timed(
            lambda target=target: edge.act(changed(target, {"power_state": 4}), "save")
        )
        assert took < 2 * NOTICED
    edge.await_drained()
    edge.await_linked()
    program.kill()
    assert conductor.saves("Instance", "power_state") == [4] * 4
    assert [edge.field(uuid) for uuid in uuids] == [4] * 4
