# SPDX-License-Identifier: Apache-2.0
"""What an earlier life has left without a note gets one of where its instance was then."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nova import objects

from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import notes
from nova_edge_bus.cell import fencing
from tests.unit.autonomy import site as sites
from tests.unit.cell import applying
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot import test_reads as reads

HOST = "edge-1"


@pytest.fixture
def instance(site: sites.Site) -> Any:
    """One that this host has read."""
    uuid = rows.instance(site.centre, host=HOST).uuid
    with centres.over(site):
        reads.startup(site)
        found = reads.by_uuid(site, uuid)
        site.save()
    return found


def fault(instance: Any) -> applying.Entry:
    made = objects.InstanceFault(
        instance._context, instance_uuid=instance.uuid, code=500, message="m", host=HOST
    )
    made.details = ""
    return applying.written(made.create)[0]


def network(instance: Any) -> applying.Entry:
    cache = objects.InstanceInfoCache(instance._context, instance_uuid=instance.uuid)
    cache.network_info = "[]"
    return applying.written(cache.save)[0]


def end_of_ports(instance: Any) -> applying.Entry:
    return applying.written(
        lambda: objects.VirtualInterface.delete_by_instance_uuid(instance._context, instance.uuid)
    )[0]


def given_up(instance: Any) -> applying.Entry:
    def give_up() -> None:
        instance.host = instance.node = None
        instance.save()

    return applying.written(give_up)[0]


def left_over(site: sites.Site, *written: applying.Entry) -> list[bodies.Request]:
    """Leave entries in the journal, end, and read them in the next life."""
    with site.journal.transaction():
        for each in written:
            body = json.dumps([each.context, each.message]).encode()
            site.journal.outbox.append_many([sites.entry(body)])
    site.restart()
    found = site.pending()
    with site.journal.transaction():
        for each in found:
            notes.write_on_left_over(site.journal, each, site.keeper.known)
    assert [each.body for each in site.pending()] == [each.body for each in found]
    return [bodies.request(each.body) for each in found]


@pytest.mark.parametrize("write", [fault, network, end_of_ports])
def test_what_is_written_beside_an_instance_is_fenced_by_what_was_known(
    site: sites.Site, instance: Any, write: Any
) -> None:
    """The instance was given up later, by an entry that is left over as well."""
    entries = write(instance), given_up(instance)
    found, _ = left_over(site, *entries)
    assert found.note == {"instance_host": HOST}
    fence = fencing.fence_of(found.message, found.note)
    assert fence is not None
    assert (fence.instance, fence.host) == (instance.uuid, HOST)


def test_what_this_host_does_not_know_has_no_note(site: sites.Site, instance: Any) -> None:
    other = rows.instance(site.centre, host="edge-2")
    other._context = instance._context
    (found,) = left_over(site, fault(other))
    assert found.note is None
