# SPDX-License-Identifier: Apache-2.0
"""What is kept survives every end of the process, and nothing that is heard does any harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from nova import objects

from nova_edge_bus import errors
from nova_edge_bus.autonomy import keeper as keepers
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import schema
from nova_edge_bus.protocol import messages
from tests.unit.autonomy import site as sites
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows
from tests.unit.snapshot import test_reads as reads

Step = Callable[[], object]


class Host:
    """A site with two instances, and what happens on it."""

    def __init__(self, site: sites.Site) -> None:
        self.site = site
        rows.service(site.centre)
        self.uuids = [rows.instance(site.centre).uuid for _ in range(2)]
        self.value = 10

    def save(self, number: int) -> None:
        """Change an instance."""
        instance = self._instance(number)
        self.value += 1
        instance.power_state = self.value
        instance.save()

    def compare(self, number: int) -> None:
        """Change the state of an instance if it is what it was."""
        instance = self._instance(number)
        before = instance.task_state
        instance.task_state = "rebooting" if before is None else None
        instance.save(expected_task_state=[before])

    def beat(self) -> None:
        """Report."""
        service = self.service()
        service.report_count += 1
        service.save()

    def read(self) -> None:
        reads.startup(self.site)

    def service(self) -> Any:
        return objects.Service.get_by_host_and_binary(
            self.site.context(), "edge-1", "nova-compute"
        )

    def _instance(self, number: int) -> Any:
        return reads.by_uuid(self.site, self.uuids[number])

    def state(self) -> list[Any]:
        """What can be read: of the instances and the service."""
        found = {each.uuid: each for each in reads.startup(self.site)}
        states = [(found[uuid].power_state, found[uuid].task_state) for uuid in self.uuids]
        return [sorted(found) == sorted(self.uuids), states, self.service().report_count]


@pytest.fixture
def host(site: sites.Site) -> Host:
    return Host(site)


def script(host: Host) -> list[Step]:
    """A cut with all sorts of writes, a heal, and some more in a second one."""
    site = host.site

    def link(is_linked: bool) -> Step:
        def change() -> None:
            site.linked = is_linked
            if is_linked:
                site.heal()

        return change

    writes = [
        lambda: host.save(0),
        lambda: host.compare(0),
        host.beat,
        host.beat,
        lambda: host.save(1),
    ]
    return [
        *writes, link(False), *writes, host.beat, link(True), host.read, *writes,
        link(False), lambda: host.compare(0), host.beat,
    ]  # fmt: skip


STEPS = 22


@pytest.mark.parametrize("end", range(STEPS))
@pytest.mark.parametrize("saved", ["never", "often"])
def test_whenever_the_process_ends_its_writes_are_seen_by_the_next_one(
    host: Host, end: int, saved: str
) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        host.service()
        site.save()
        steps = script(host)
        assert len(steps) == STEPS
        for number, step in enumerate(steps[: end + 1]):
            step()
            if saved == "often" and number % 3 == 0:
                site.save()
        before = host.state()
        site.restart()
        assert site.keeper.snapshot.unsettled() == [each.seq for each in site.pending()]
        site.linked = False
        after = host.state()
        site.heal()
        assert after == before == host.state()


def test_what_was_written_last_is_caught_up_with_from_the_journal_alone(host: Host) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        site.save()
        host.save(0)
        site.linked = False
        host.save(0)
        host.save(1)
        before = [each.power_state for each in reads.startup(site)]
        site.restart()
        assert [each.power_state for each in reads.startup(site)] == before


def test_what_was_settled_behind_its_back_is_not_taken_for_unsettled(host: Host) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        site.linked = False
        host.save(0)
        site.save()
        (pending,) = site.pending()
        with site.journal.transaction():
            site.journal.outbox.settle_many([(pending.seq, entries.Outcome.APPLIED, None)])
        site.restart()
    assert site.keeper.snapshot.unsettled() == []


def test_only_what_has_changed_is_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    site = host.site
    written: list[list[str]] = []
    write = site.journal.kept.write

    def count(changes: Any) -> None:
        changed = list(changes)
        written.append([key for key, _ in changed])
        write(changed)

    monkeypatch.setattr(site.journal.kept, "write", count)
    with centres.over(site):
        host.read()
        site.save()
        site.save()
        assert len(written) == 1
        host.save(0)
        site.save()
    assert f"entity/Instance/{host.uuids[0]}" in written[-1]
    assert f"entity/Instance/{host.uuids[1]}" not in written[-1]


def test_what_a_full_journal_does_not_take_is_written_later(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = host.site

    def full(_: object) -> None:
        raise errors.JournalFull("no room")

    with centres.over(site):
        with monkeypatch.context() as patched:
            patched.setattr(site.journal.kept, "write", full)
            host.read()
            host.service()
            site.save()
        site.save()
        before = host.state()
        site.restart()
        site.linked = False
        assert host.state() == before


def test_a_save_that_is_rolled_back_is_made_again(host: Host) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        host.service()
        before = host.state()
        site.journal.begin()
        site.keeper.save(site.journal)
        site.journal.rollback()
        site.save()
        site.restart()
        site.linked = False
        assert host.state() == before


def put(site: sites.Site, key: str, body: bytes) -> None:
    """Keep a row, as another version of the package might."""
    with site.journal.transaction():
        site.journal.kept.write([(key, body)])


def damage(site: sites.Site, key: str, body: bytes) -> None:
    """Change a row of what is kept, as a disk might."""
    changed = schema.snapshot.update().where(schema.snapshot.c.key == key).values(body=body)
    with site.journal.transaction():
        site.journal._db.run(changed)


def keys(site: sites.Site) -> list[str]:
    with site.journal.transaction():
        return sorted(key for key, _ in site.journal.kept.read())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)


@hypothesis.settings(
    max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    pick=st.integers(0, 99),
    body=st.binary(max_size=8) | JSON.map(lambda it: json.dumps(it).encode()),
)
def test_a_damaged_row_is_a_beginning_with_nothing(host: Host, pick: int, body: bytes) -> None:
    site = host.site
    site.linked = True
    with centres.over(site):
        host.read()
        host.service()
        objects.Service.get_minimum_version(site.context(), "nova-compute")
        site.linked = False
        host.save(0)
        site.save()
        known = keys(site)
        damage(site, known[pick % len(known)], body)
        site.restart()
        # Whatever is answered is answered as if the row were not there, or not at all.
        assert site.keeper.snapshot.unsettled() == [each.seq for each in site.pending()]
        site.heal()
        assert host.state()[0]
        site.save()
        site.restart()
        site.linked = False
        assert host.state()[0]
        with site.journal.transaction():
            site.journal.kept.write([(key, None) for key, _ in site.journal.kept.read()])
        site.restart()


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("other", b"1"),
        ("watermark", b"?"),
        ("entity/Instance/one", b"[1]"),
        ("meta", b'{"versions": {}, "bases": []}'),
        ("write/x", b"[]"),
    ],
)
def test_what_is_not_understood_is_removed(host: Host, key: str, body: bytes) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        site.save()
        put(site, key, body)
        site.restart()
        assert site.keeper.snapshot.instances_of("edge-1") == []
        site.save()
        assert set(keys(site)) <= {"watermark", "meta"}
        host.read()
        site.save()
        site.restart()
        assert site.keeper.snapshot.instances_of("edge-1") == sorted(host.uuids)


def test_what_cannot_be_understood_forgets_everything(host: Host) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        site.linked = False
        host.save(0)
        unsettled = site.keeper.snapshot.unsettled()
        site.keeper.heard_command(b"not a body")
        site.keeper.digest(wholly=True)
        assert site.keeper.snapshot.instances_of("edge-1") == []
        assert site.keeper.snapshot.unsettled() == unsettled != []
        with reads.absent():
            host.read()


@pytest.mark.parametrize("hear", ["reply", "failure", "outcome", "write"])
def test_damage_in_anything_that_is_heard_is_survived(host: Host, hear: str) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        request = sites.bodies.pack(sites.bodies.Request({}, site.asked[-1]))
    heard: dict[str, Step] = {
        "reply": lambda: site.keeper.heard_reply(request, None, messages.Status.OK, b"{"),
        "failure": lambda: site.keeper.heard_reply(request, None, messages.Status.FAILURE, b"3"),
        "outcome": lambda: site.keeper.heard_outcome(1, messages.Status.OK, b"\xff"),
        "write": lambda: site.keeper.wrote(1, b"[]"),
    }
    heard[hear]()
    site.keeper.digest(wholly=True)
    assert site.keeper.snapshot.instances_of("edge-1") == []


def fill(keeper: keepers.Keeper, count: int, size: int) -> None:
    body = json.dumps([{}, {"method": "cast", "args": {"value": "x" * size}}]).encode()
    for _ in range(count):
        keeper.heard_command(body)


def test_digesting_gives_way_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += keepers.DIGEST_SECONDS / 4
        return now[0]

    monkeypatch.setattr(keepers.concurrency, "monotonic", tick)
    keeper = sites.make_keeper()
    fill(keeper, 100, 10)
    keeper.digest(wholly=False)
    assert 0 < len(keeper._heard) < 100
    left = len(keeper._heard)
    keeper.digest(wholly=False)
    assert len(keeper._heard) < left
    keeper.digest(wholly=True)
    assert not keeper.has_news


def test_a_backlog_that_has_grown_is_taken_in_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1_000_000))
    monkeypatch.setattr(keepers.concurrency, "monotonic", lambda: float(next(now)))
    keeper = sites.make_keeper()
    fill(keeper, 10, keepers.BACKLOG_BYTES // 5)
    keeper.digest(wholly=False)
    assert sum(heard.size for heard in keeper._heard) < keepers.BACKLOG_BYTES
    assert keeper.has_news


def test_a_read_is_answered_from_all_that_was_heard(host: Host) -> None:
    site = host.site
    with centres.over(site):
        host.read()
        for _ in range(3):
            host.save(0)
        assert site.keeper.has_news
        site.linked = False
        assert reads.by_uuid(site, host.uuids[0]).power_state == host.value
        assert not site.keeper.has_news
