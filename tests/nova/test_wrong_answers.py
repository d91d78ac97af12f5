# SPDX-License-Identifier: Apache-2.0
"""What a wrong answer to a read would make nova-compute do, does not happen while it is cut off.

One cut with a restart in it, and a start with nothing to answer from; the tests are what is
claimed of them. What a real nova-compute cannot be made to show is in tests/unit/snapshot.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import pytest

from tests.nova import hypervisor
from tests.nova import witness
from tests.nova.bus import EdgeBus
from tests.nova.bus import journal_directory
from tests.nova.processes import wait_until
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack
from tests.nova.witness import Witness

pytestmark = [pytest.mark.nova, pytest.mark.slow, pytest.mark.timeout(300)]

_NOTICED_SECONDS = 30
_HEALED_SECONDS = 60
_ANSWERED_SECONDS = 8
"""Longer than it takes to notice a cut, and shorter than any call's own time-out."""
_PING_SECONDS = 40
_ROLES = ("kept", "paused", "restless", "powers off", "deleted")
_DELETED_QUERY = "InstanceList.get_by_filters"
_CENTRAL_REQUESTS = '{"changed": "by the centre"}'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NovaStack]:
    periodic = {
        "sync_power_state_interval": 4,
        "update_resources_interval": 3,
        "running_deleted_instance_poll_interval": 3,
        "running_deleted_instance_action": "reap",
        "running_deleted_instance_timeout": 0,
        "resume_guests_state_on_host_boot": True,
        "periodic_fuzzy_delay": 0,
    }
    with NovaStack(
        tmp_path_factory.mktemp("nova"),
        EdgeBus(),
        computes=1,
        far_sites=True,
        options={"DEFAULT": {"report_interval": 2, "service_down_time": 8}},
        compute_options={"DEFAULT": periodic, "edge_bus": {"link_timeout": 2}},
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def compute(stack: NovaStack) -> Compute:
    return stack.computes[0]


@dataclasses.dataclass(frozen=True)
class Cut:
    """One cut with a restart of nova-compute in it.

    `domains` are the hypervisor's after the heal, by role. `in_cut` has seen the cut before the
    restart and all after it, `restarted` all since the restart.
    """

    ids: Mapping[str, str]
    before: Mapping[str, Any]
    in_cut: Witness
    restarted: Witness
    log_before_heal: str
    log_of_restart: str
    rpcs_before_heal: list[dict[str, Any]]
    domains: Mapping[str, int]
    statuses: Mapping[str, str]


def _guests(compute: Compute, ids: Mapping[str, str]) -> dict[str, int]:
    domains = compute.hypervisor.domains()
    return {role: domains[each].state for role, each in ids.items() if each in domains}


def _boot(stack: NovaStack, compute: Compute) -> dict[str, str]:
    """Boot a server for each role, and let the snapshot hear of task states that have passed."""
    client = stack.client
    ids = {role: client.create(role, host=compute.host) for role in _ROLES}
    for each in ids.values():
        client.wait_for(each, "ACTIVE")
    client.pause(ids["paused"])
    client.stop(ids["restless"])
    client.start(ids["restless"])
    client.reboot(ids["restless"], hard=True)
    return ids


def _central(stack: NovaStack) -> dict[str, Any]:
    nodes = "SELECT id, uuid, deleted, vcpus_used, memory_mb_used FROM compute_nodes"
    services = "SELECT id, deleted FROM services WHERE `binary` = 'nova-compute'"
    return {"nodes": witness.rows(stack, nodes), "services": witness.rows(stack, services)}


@pytest.fixture(scope="module")
def cut(stack: NovaStack, compute: Compute) -> Cut:
    client = stack.client
    ids = _boot(stack, compute)
    Witness(compute).wait_for_turns(witness.REAPER, witness.AUDIT, witness.POWER_SYNC, turns=2)
    before = _central(stack)
    with compute.site.cut_off():
        in_cut = Witness(compute)
        wait_until(lambda: not client.is_up(compute.host), _NOTICED_SECONDS, "down")
        client.delete(ids["deleted"])  # the API does it alone, as the service is down
        for role in ("kept", "powers off"):
            _change_requests(stack, ids[role])
        compute.hypervisor.set_state(ids["powers off"], hypervisor.SHUTDOWN)
        Witness(compute).wait_for_turns(witness.REAPER, witness.AUDIT)
        assert stack.stop_compute(compute)
        restarted = Witness(compute)
        stack.start_compute(compute, expect_up=False)
        log_of_restart = restarted.log()
        restarted.wait_for_turns(witness.REAPER, witness.AUDIT, witness.POWER_SYNC)
        log_before_heal = in_cut.log()
        rpcs_before_heal = in_cut.rpcs("call")
    stack.wait_linked(compute)
    wait_until(
        lambda: compute.hypervisor.find(ids["deleted"]) is None, _HEALED_SECONDS, "the reaper"
    )
    client.wait_for(ids["powers off"], "SHUTOFF")
    Witness(compute).wait_for_turns(witness.REAPER, witness.AUDIT, witness.POWER_SYNC)
    return Cut(
        ids=ids,
        before=before,
        in_cut=in_cut,
        restarted=restarted,
        log_before_heal=log_before_heal,
        log_of_restart=log_of_restart,
        rpcs_before_heal=rpcs_before_heal,
        domains=_guests(compute, ids),
        statuses={each["name"]: each["status"] for each in client.servers()},
    )


def _change_requests(stack: NovaStack, server_id: str) -> None:
    witness.change(
        stack,
        "UPDATE instance_extra SET pci_requests = :requests WHERE instance_uuid = :uuid",
        requests=_CENTRAL_REQUESTS,
        uuid=server_id,
    )


def test_the_reaper_destroys_what_the_centre_deleted_and_no_other_guest(cut: Cut) -> None:
    assert cut.domains == {
        "kept": hypervisor.RUNNING,
        "paused": hypervisor.PAUSED,
        "restless": hypervisor.RUNNING,
        "powers off": hypervisor.SHUTDOWN,
    }
    reaped = re.compile(r"\[instance: (\S+)\] Destroying instance with name label")
    assert reaped.findall(cut.log_before_heal) == []
    assert set(reaped.findall(cut.in_cut.log())) == {cut.ids["deleted"]}


def test_the_reaper_is_answered_in_the_cut(cut: Cut) -> None:
    asked = [each for each in cut.rpcs_before_heal if each["method"] == _DELETED_QUERY]
    assert len(asked) >= 2
    assert not [each for each in asked if each["error"]]


def test_the_audit_frees_nothing(cut: Cut) -> None:
    views = re.findall(r"Final resource view: .* used_vcpus=(\d+)", cut.log_before_heal)
    assert len(views) >= 2
    assert set(views) == {str(len(_ROLES))}


def test_the_centre_keeps_the_usage_of_the_guests_that_it_has(stack: NovaStack, cut: Cut) -> None:
    def used() -> list[int]:
        return [each["vcpus_used"] for each in _central(stack)["nodes"]]

    assert [each["vcpus_used"] for each in cut.before["nodes"]] == [len(_ROLES)]
    wait_until(lambda: used() == [len(_ROLES) - 1], _HEALED_SECONDS, "the audit after the heal")


def test_no_node_is_dropped_or_destroyed(stack: NovaStack, cut: Cut) -> None:
    assert _identities(_central(stack)["nodes"]) == _identities(cut.before["nodes"])
    assert not cut.in_cut.methods("call") & {"ComputeNode.destroy", "ComputeNode.create"}
    assert not _found(cut.in_cut.log(), "No compute node record", "orphan compute node")


def test_a_service_with_guests_starts_in_the_cut(stack: NovaStack, cut: Cut) -> None:
    """Told that it were new, it would refuse to start: the fixture has seen it serve."""
    assert _found(cut.log_of_restart, "Join ServiceGroup membership")
    assert _central(stack)["services"] == cut.before["services"]
    assert "Service.create" not in cut.restarted.methods("call")


def test_what_was_not_asked_for_is_not_written_back(stack: NovaStack, cut: Cut) -> None:
    query = "SELECT pci_requests FROM instance_extra WHERE instance_uuid = :uuid"
    saves = [each for each in cut.in_cut.written() if each.method == "Instance.save"]
    assert {each.fields["uuid"] for each in saves if each.message} >= {cut.ids["powers off"]}
    for role in ("kept", "powers off"):
        (row,) = witness.rows(stack, query, uuid=cut.ids[role])
        assert row["pci_requests"] == _CENTRAL_REQUESTS


def test_a_start_in_the_cut_does_nothing_to_the_guests(cut: Cut) -> None:
    """Neither what was under way once, nor the power state of a guest that is off by now."""
    assert not _found(
        cut.log_of_restart,
        "transitional state",
        "Rebooting instance after nova-compute restart",
        "Service started deleting",
        "ERROR state",
        "does not exist on this hypervisor",
    )
    assert _found(cut.log_of_restart, "Current state is 4, state in DB is 4")
    assert cut.statuses == {
        "kept": "ACTIVE",
        "paused": "PAUSED",
        "restless": "ACTIVE",
        "powers off": "SHUTOFF",
    }


def test_every_call_in_the_cut_is_answered_soon(cut: Cut) -> None:
    assert not [each for each in cut.rpcs_before_heal if each["error"]]
    assert max(each["seconds"] for each in cut.rpcs_before_heal) < _ANSWERED_SECONDS


def test_a_compute_that_was_told_nothing_waits(
    stack: NovaStack, compute: Compute, cut: Cut
) -> None:
    """It is not told that it were new, nor that it had no guests; it starts with the link."""
    assert stack.stop_compute(compute)
    shutil.rmtree(journal_directory(compute.state))
    seen = Witness(compute)
    with compute.site.cut_off():
        compute.process.start()
        wait_until(lambda: bool(seen.rpcs("call")), _PING_SECONDS, "a ping to time out")
        assert {each["error"] for each in seen.rpcs("call")} == {"MessagingTimeout"}
        assert compute.process.alive
        assert not compute.serves
        assert _guests(compute, cut.ids) == cut.domains
    wait_until(lambda: compute.serves, _HEALED_SECONDS, "nova-compute to serve")
    stack.wait_linked(compute)
    Witness(compute).wait_for_turns(witness.REAPER, witness.AUDIT)
    assert _guests(compute, cut.ids) == cut.domains
    assert _identities(_central(stack)["nodes"]) == _identities(cut.before["nodes"])


def _identities(nodes: list[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    return {(each["id"], each["uuid"], each["deleted"]) for each in nodes}


def _found(log: str, *texts: str) -> list[str]:
    """Return those of the texts that are in the log, which is too long to be shown."""
    return [each for each in texts if each in log]
