# SPDX-License-Identifier: Apache-2.0
"""Order within groups, at the sender."""

from nova_edge_bus.delivery import directory
from tests.unit.delivery import rigs
from tests.unit.delivery.rigs import SERVER
from tests.unit.delivery.rigs import TOPIC
from tests.unit.delivery.rigs import A
from tests.unit.delivery.rigs import B


def ready(*consumers: object) -> rigs.SenderRig:
    rig = rigs.SenderRig()
    rig.routes(*(consumers or (A, B)))
    rig.routes(rigs.consumer("edge"), address=SERVER)
    return rig


def test_records_of_a_group_name_their_predecessor_and_go_to_one_consumer() -> None:
    rig = ready()
    first, second = rig.record("g"), rig.record("g")
    shipped = rig.ship()
    assert [(each.number, each.after) for each in shipped] == [
        (first.number, 0),
        (second.number, first.number),
    ]
    assert {each.to for each in shipped} == {A.peer}


def test_groups_and_what_has_none_do_not_wait_for_each_other() -> None:
    rig = ready()
    for group in ("g", "h", "", ""):
        rig.record(group)
    shipped = rig.ship()
    assert [each.after for each in shipped] == [0, 0, 0, 0]
    assert [each.to for each in shipped] == [A.peer, B.peer, A.peer, B.peer]


def test_a_record_does_not_go_to_another_consumer_than_its_predecessor() -> None:
    rig = ready()
    first = rig.record("g", pin=A.inbox)
    second = rig.record("g", pin=B.inbox)
    assert [each.number for each in rig.ship()] == [first.number]
    assert rig.wait(2.0) == []
    rig.applied(first)
    shipped = rig.ship()
    assert [(each.number, each.after, each.to) for each in shipped] == [(second.number, 0, B.peer)]


def test_a_record_waits_while_its_predecessor_is_not_on_its_way() -> None:
    """The predecessor was refused: what follows it stays until that is shipped again."""
    rig = ready()
    first, second = rig.record("g"), rig.record("g")
    rig.ship()
    rig.refused(rigs.Refusal.BUSY, first)
    rig.refused(rigs.Refusal.BUSY, second)
    rig.full.add("e1")
    assert rig.wait(0.5) == []
    rig.full.clear()
    assert [(each.number, each.after) for each in rig.wait(0.3)] == [
        (first.number, 0),
        (second.number, first.number),
    ]


def test_a_record_to_another_address_waits_until_its_predecessor_is_applied() -> None:
    rig = ready()
    rig.routes(A, address="v/e/other")
    first = rig.record("g")
    second = rig.record("g", "v/e/other")
    assert [each.number for each in rig.ship()] == [first.number]
    rig.applied(first)
    assert [(each.number, each.after) for each in rig.ship()] == [(second.number, 0)]


def test_a_command_waits_for_the_records_of_its_group_that_came_before_it() -> None:
    rig = ready()
    records = [rig.record("g"), rig.record("g")]
    command = rig.command("g", SERVER)
    later = rig.record("g")
    rig.ship()
    rig.applied(records[0])
    assert rig.ship() == []
    rig.applied(records[1])
    assert [each.number for each in rig.ship()] == [command.number]
    assert later.number in [each.number for _, each in rig.shipped], "and for no later one"


def test_a_call_waits_for_the_records_of_its_group() -> None:
    rig = ready()
    record = rig.record("g")
    rig.ship()
    call, other = rig.call("g"), rig.call("h")
    assert [each.number for each in rig.ship()] == [other.call_number]
    later = rig.record("g")
    rig.ship()
    rig.applied(record)
    assert [each.number for each in rig.ship()] == [call.call_number]
    assert later.state.value == "in flight"


def test_what_is_parked_waits_for_records_that_are_only_on_disk() -> None:
    rig = ready()
    rig.sender.restore([(7, "g")], [(TOPIC, 7)])
    command = rig.command("g", SERVER, number=9)
    assert rig.ship() == []
    rig.sender.loaded(TOPIC, [rig.item(rigs.Kind.RECORD, "g", number=7)], more=False)
    (record,) = rig.ship()
    rig.sender.replied(rigs.Kind.RECORD, record.number, 0, b"")
    assert [each.number for each in rig.ship()] == [command.number]


def test_a_record_that_ends_in_the_journal_frees_what_waits_for_it() -> None:
    """It was damaged or discarded there, and never came into memory."""
    rig = ready()
    rig.sender.restore([(7, "g")], [(TOPIC, 7)])
    command = rig.command("g", SERVER, number=9)
    assert rig.ship() == []
    rig.sender.expired([7])
    assert [each.number for each in rig.ship()] == [command.number]


def test_a_cancelled_call_is_not_released_later() -> None:
    rig = ready()
    record = rig.record("g")
    call = rig.call("g")
    rig.ship()
    rig.sender.cancel(call.number)
    rig.applied(record)
    assert rig.ship() == []
    assert rig.sender.depth() == 0


def test_commands_of_a_group_to_one_address_follow_each_other() -> None:
    rig = ready()
    first, second = rig.command("g", SERVER), rig.command("g", SERVER)
    elsewhere = rig.command("g", TOPIC)
    assert [(each.number, each.after) for each in rig.ship()] == [
        (first.number, 0),
        (second.number, first.number),
        (elsewhere.number, 0),
    ]


def test_a_command_follows_the_earliest_that_is_left_when_one_between_is_settled() -> None:
    rig = ready()
    first, second, third = (rig.command("g", SERVER) for _ in range(3))
    rig.ship()
    rig.accepted(second)
    rig.endpoint_down()
    rig.routes(rigs.consumer("edge"), address=SERVER)
    assert [(each.number, each.after) for each in rig.ship()] == [
        (first.number, 0),
        (third.number, first.number),
    ]
    fourth = rig.command("g", SERVER)
    assert [each.after for each in rig.ship()] == [third.number]
    rig.accepted(first, third, fourth)
    assert rig.sender.depth() == 0


def test_a_command_follows_the_earliest_that_is_left_when_the_last_is_settled() -> None:
    rig = ready()
    first, second = rig.command("g", SERVER), rig.command("g", SERVER)
    rig.ship()
    rig.accepted(second)
    rig.command("g", SERVER)
    assert [each.after for each in rig.ship()] == [first.number]


def test_a_command_that_was_refused_holds_back_those_behind_it() -> None:
    rig = ready()
    first, second = rig.command("g", SERVER), rig.command("g", SERVER)
    rig.ship()
    rig.refused(rigs.Refusal.BUSY, first)
    rig.refused(rigs.Refusal.BUSY, second)
    assert rig.ship() == [], "not before the next tick"
    assert [each.number for each in rig.wait(0.3)] == [first.number, second.number]


def test_many_records_of_one_group_cost_no_search() -> None:
    """Ten thousand heartbeats of one host, journaled in a long outage."""
    rig = ready()
    count = 10_000
    rig.sender.restore([(seq, "host") for seq in range(1, count + 1)], [(TOPIC, 1)])
    done = 0
    while done < count:
        rig.ship()
        page = [
            rig.item(rigs.Kind.RECORD, "host", number=seq, pin=A.inbox)
            for seq in range(done + 1, min(done + 129, count + 1))
        ]
        rig.sender.loaded(TOPIC, page, more=True)
        rig.ship()
        rig.applied(*page)
        done += len(page)
    assert [each.number for _, each in rig.shipped] == list(range(1, count + 1))


def local(rig: rigs.SenderRig) -> None:
    rig.routes(rigs.consumer("edge"), endpoint=directory.LOCAL, address=SERVER)


def test_what_goes_to_this_process_waits_for_no_record() -> None:
    """While the centre is away, a host's casts to itself are what keeps its guests served."""
    rig = rigs.SenderRig()
    local(rig)
    rig.record("g")
    first, second = rig.command("g", key=SERVER), rig.command("g", key=SERVER)
    shipped = rig.ship()
    assert [(each.number, each.after) for each in shipped] == [
        (first.number, 0),
        (second.number, first.number),
    ]


def test_a_command_that_waits_for_a_record_is_free_when_its_listener_is_here() -> None:
    rig = rigs.SenderRig()
    rig.record("g")
    waiting = rig.command("g", key=SERVER)
    assert rig.ship() == []
    local(rig)
    assert [each.number for each in rig.ship()] == [waiting.number]


def test_a_record_that_goes_last_waits_for_all_older_ones() -> None:
    rig = ready(A)
    older = [rig.record("g"), rig.record("h"), rig.record("")]
    heartbeat = rig.record("host", goes_last=True)
    later = rig.record("g")
    sent = [each.number for each in rig.ship()]
    assert heartbeat.number not in sent
    assert later.number in sent
    for record in older[:2]:
        rig.applied(record)
        assert heartbeat.number not in [each.number for each in rig.ship()]
    rig.applied(older[2])
    assert [each.number for each in rig.ship()] == [heartbeat.number]


def test_a_heartbeat_from_before_a_cut_goes_after_what_was_written_during_it() -> None:
    rig = ready(A)
    before = rig.record("host", goes_last=True)
    assert [each.number for each in rig.ship()] == [before.number]
    rig.endpoint_down()
    rig.sender.hold_back(until_all_is_done=True)
    during = rig.record("g")
    newer = rig.record("host", goes_last=True)
    own = rig.record("host")
    rig.routes(A)
    assert [each.number for each in rig.ship()] == [during.number]
    rig.applied(during)
    assert [each.number for each in rig.ship()] == [before.number]
    rig.applied(before)
    assert [each.number for each in rig.ship()] == [newer.number, own.number]


def test_a_heartbeat_does_not_wait_for_younger_records_while_linked() -> None:
    rig = ready(A)
    rig.sender.hold_back(until_all_is_done=True)
    heartbeat = rig.record("host", goes_last=True)
    younger = rig.record("g")
    sent = [each.number for each in rig.ship()]
    assert heartbeat.number not in sent
    rig.sender.hold_back(until_all_is_done=False)
    assert [each.number for each in rig.ship()] == [heartbeat.number]
    assert younger.number in sent


def test_older_records_on_disk_hold_what_goes_last_as_well() -> None:
    rig = rigs.SenderRig()
    rig.sender.restore([(1, "g"), (2, "")], [])
    heartbeat = rig.item(rigs.Kind.RECORD, "host", number=3, goes_last=True)
    rig.routes(A)
    rig.sender.committed(heartbeat)
    assert rig.ship() == []
    rig.sender.expired([1])
    assert rig.ship() == []
    rig.sender.expired([2])
    assert [each.number for each in rig.ship()] == [3]


def test_it_is_said_where_nothing_was_heard_in_time() -> None:
    rig = ready(A)
    rig.record("g")
    rig.ship()
    rig.wait(rigs.ACK_TIMEOUT - 0.5)
    assert rig.unheard == []
    rig.wait(1.0)
    assert rig.unheard == [TOPIC]
