# SPDX-License-Identifier: Apache-2.0
"""What is asked ahead is understood by nova's conductor, and afterwards nothing is missing."""

from __future__ import annotations

import json
from typing import Any

import oslo_messaging
import pytest
from nova import objects

from nova_edge_bus import contracts
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import manifest
from nova_edge_bus.autonomy import prefetch
from nova_edge_bus.protocol import messages
from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import rules
from nova_edge_bus.snapshot import snapshot as snapshots
from tests.unit.autonomy import site as sites
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot.edge import HOST

INSTANCES = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"]


def questions() -> list[prefetch.Question]:
    return list(prefetch.questions(HOST, [(rows.NODE, 1)], INSTANCES))


@pytest.mark.parametrize("question", questions(), ids=lambda each: f"{each.name}.{each.method}")
def test_each_question_is_a_read_of_which_the_snapshot_has_a_rule(
    question: prefetch.Question, centre: centres.Centre
) -> None:
    request = prefetch.request(question, manifest.versions_of)
    assert request is not None
    terms = contracts.classify(request.message, is_call=True)
    assert terms.contract is contracts.Contract.RELAY
    assert terms.repeatable
    call = calls.parse(request.message)
    assert call is not None
    assert rules.question(call, calls.scope_of(request.context)) is not None


def test_the_keys_of_questions_are_their_own() -> None:
    keys = [question.key for question in questions()]
    assert len(set(keys)) == len(keys)


def test_objects_that_this_process_does_not_know_are_not_asked_for() -> None:
    assert manifest.versions_of("NoSuchObject") is None
    snapshot = snapshots.Snapshot(host=HOST, limit_bytes=1 << 20)
    assert prefetch.missing(snapshot, HOST, lambda _: None) == []


def test_the_versions_are_novas_own(centre: centres.Centre) -> None:
    found = manifest.versions_of("InstanceList")
    assert found is not None
    assert found["Instance"] == objects.Instance.VERSION


def learn_all(site: sites.Site) -> list[str]:
    """Ask the centre until nothing is missing; the questions, round by round."""
    asked: list[str] = []
    for _ in range(5):
        found = site.keeper.missing()
        if not found:
            return asked
        for key, body in found:
            moment = site.keeper.ask()
            status, reply = site.apply(body)
            assert status == messages.Status.OK, (key, json.loads(reply))
            site.keeper.heard_reply(body, moment, status, reply)
            asked.append(key)
    raise AssertionError([key for key, _ in site.keeper.missing()])


def populate(centre: centres.Centre) -> list[str]:
    """A host with two instances, one of them deleted elsewhere, and what belongs to them."""
    rows.service(centre)
    node = rows.compute_node(centre)
    uuids = [rows.instance(centre, compute_id=node.id).uuid for _ in range(2)]
    rows.migration(centre, uuids[0])
    rows.volume(centre, uuids[0])
    with centres.direct():
        rows.instance(centre).destroy()
    return uuids


def test_nothing_is_missing_when_the_answers_have_been_learned(
    centre: centres.Centre, site: sites.Site
) -> None:
    populate(centre)
    asked = learn_all(site)
    # What is asked of nodes and instances can only be asked when these are known.
    assert len(set(asked)) >= len(questions())
    assert site.keeper.missing() == []


def test_an_empty_host_is_learned_as_well(centre: centres.Centre, site: sites.Site) -> None:
    rows.service(centre)
    rows.compute_node(centre)
    learn_all(site)


def read(site: sites.Site) -> list[Any]:
    """What nova-compute reads at its start, in its periodic tasks, and when a guest stops."""
    context, deleted = site.context(), site.context(read_deleted="yes")
    instances = list(
        objects.InstanceList.get_by_host(
            context, HOST, expected_attrs=["info_cache", "metadata", "system_metadata", "flavor"]
        )
    )
    uuids = [each.uuid for each in instances]
    nodes = objects.ComputeNodeList.get_all_by_host(context, HOST)
    found = [
        sorted(uuids),
        objects.Service.get_by_host_and_binary(context, HOST, "nova-compute").id,
        objects.Service.get_minimum_version(context, "nova-compute"),
        [node.uuid for node in nodes],
        len(
            objects.InstanceList.get_by_host_and_node(
                context, HOST, rows.NODE, expected_attrs=list(rows.AUDIT_ATTRIBUTES)
            )
        ),
        len(objects.MigrationList.get_in_progress_and_error(context, HOST, rows.NODE)),
        len(objects.PciDeviceList.get_by_compute_node(context, nodes[0].id)),
        len(objects.InstanceList.get_by_filters(
            deleted,
            {"deleted": True, "soft_deleted": False, "host": HOST, "cleaned": False},
            expected_attrs=["system_metadata"],
        )),
    ]  # fmt: skip
    for uuid in uuids:
        for each in (context, deleted):
            found.append(len(objects.ShareMappingList.get_by_instance_uuid(each, uuid)))
            found.append(len(objects.VirtualInterfaceList.get_by_instance_uuid(each, uuid)))
        found.append(len(objects.BlockDeviceMappingList.get_by_instance_uuid(context, uuid)))
    return found


def test_novas_own_reads_are_answered_from_what_was_asked_ahead(
    centre: centres.Centre, site: sites.Site
) -> None:
    populate(centre)
    learn_all(site)
    with centres.over(site):
        site.linked = False
        with pytest.raises(oslo_messaging.MessagingTimeout):
            objects.InstanceList.get_by_host(site.context(), "other")
        here = read(site)
        site.linked = True
        assert read(site) == here


def test_what_we_write_ourselves_is_asked_anew_only_where_it_must_be(
    centre: centres.Centre, site: sites.Site
) -> None:
    uuids = populate(centre)
    learn_all(site)
    with centres.over(site):
        instance = objects.Instance.get_by_uuid(site.context(), uuids[0])
        instance.power_state = 4
        instance.save()
    assert site.keeper.missing() == []


def test_a_question_is_a_body_of_the_bus() -> None:
    request = prefetch.request(questions()[0], lambda _: {"Service": "1.0"})
    assert request is not None
    assert bodies.request(bodies.pack(request)) == request
