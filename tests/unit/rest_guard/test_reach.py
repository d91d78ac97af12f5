# SPDX-License-Identifier: Apache-2.0
"""When an upstream counts as out of reach, and when it is asked again."""

from __future__ import annotations

import pytest

from nova_edge_bus.rest_guard import reach
from nova_edge_bus.rest_guard import settings

TIMES = settings.Settings(
    connect_timeout=2, probe_interval=3, probe_interval_max=30, probe_timeout=5, link_timeout=5
)


def make(jitter: float = 0.5) -> reach.Reach:
    """An upstream that has answered its first probe at 0."""
    made = reach.Reach(TIMES, 0.0, jitter=lambda: jitter)
    assert made.next_probe(None) == 0.0
    assert made.back(0.0) is None
    return made


def test_nothing_is_probed_while_nobody_waits() -> None:
    assert make().next_probe(None) is None


def test_silence_towards_a_waiting_request_is_probed() -> None:
    upstream = make()
    assert upstream.next_probe(10.0) == 13.0
    upstream.heard(12.0)
    assert upstream.next_probe(10.0) == 15.0


def test_probes_of_a_slow_upstream_become_rarer() -> None:
    upstream = make()
    due, pauses = upstream.next_probe(0.0), []
    for _ in range(20):
        assert due is not None
        upstream.back(due)
        following = upstream.next_probe(0.0)
        assert following is not None
        pauses.append(following - due)
        due = following
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (3.0, 30.0)


def test_a_slow_answer_alone_changes_nothing() -> None:
    upstream = make()
    assert upstream.out_since is None
    assert upstream.give_up_at(0.0) is None


def test_a_connection_refused_is_enough() -> None:
    upstream = make()
    upstream.heard(9.9)
    assert upstream.lost(10.0, 9.0, certain=True)
    assert upstream.out_since == 10.0
    assert not upstream.lost(11.0, 9.0, certain=True)
    assert upstream.out_since == 10.0


def test_no_connection_in_time_is_enough_if_nothing_else_came() -> None:
    upstream = make()
    upstream.heard(8.9)
    assert upstream.lost(11.0, 9.0, certain=False)


def test_no_connection_to_a_busy_upstream_is_a_reason_to_probe() -> None:
    upstream = make()
    upstream.heard(9.5)
    assert not upstream.lost(11.0, 9.0, certain=False)
    assert upstream.out_since is None
    assert upstream.next_probe(None) == 11.0


def test_a_probe_without_an_answer_is_enough_unless_the_upstream_is_busy() -> None:
    upstream = make()
    upstream.heard(12.0)
    assert not upstream.probe_failed(20.0, 11.0, certain=False)
    assert upstream.next_probe(None) is None
    assert upstream.probe_failed(30.0, 25.0, certain=False)
    assert upstream.out_since == 30.0


def test_only_a_probe_brings_it_back() -> None:
    upstream = make()
    upstream.lost(10.0, 9.0, certain=True)
    upstream.heard(11.0)
    assert upstream.out_since == 10.0
    assert upstream.back(14.5) == 4.5
    assert upstream.out_since is None
    assert upstream.next_probe(None) is None


def test_what_is_heard_while_out_of_reach_keeps_no_probe_from_failing() -> None:
    upstream = make()
    upstream.lost(10.0, 9.0, certain=True)
    upstream.heard(11.0)
    assert not upstream.probe_failed(12.0, 10.5, certain=False)
    assert upstream.out_since == 10.0
    assert upstream.next_probe(None) is not None


def test_probes_pause_longer_and_longer() -> None:
    upstream = make()
    now, pauses = 10.0, []
    upstream.lost(now, 9.0, certain=True)
    for _ in range(12):
        due = upstream.next_probe(None)
        assert due is not None
        pauses.append(due - now)
        now = due
        upstream.probe_failed(now, now, certain=True)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (3.0, 30.0)
    upstream.back(now)
    upstream.lost(now, now, certain=True)
    assert upstream.next_probe(None) == now + 3.0


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 2.4), (1.0, 3.6)])
def test_a_fleet_does_not_probe_in_step(jitter: float, pause: float) -> None:
    upstream = make(jitter)
    upstream.lost(10.0, 9.0, certain=True)
    assert upstream.next_probe(None) == pytest.approx(10.0 + pause)


def test_requests_failing_together_do_not_put_off_the_probe() -> None:
    upstream = make()
    upstream.lost(10.0, 9.0, certain=True)
    due = upstream.next_probe(None)
    for _ in range(10):
        upstream.lost(10.1, 9.0, certain=True)
    assert upstream.next_probe(None) == due


def test_requests_without_progress_are_given_up() -> None:
    upstream = make()
    upstream.lost(10.0, 9.0, certain=True)
    assert upstream.give_up_at(4.0) == 15.0
    assert upstream.give_up_at(12.0) == 17.0


def test_a_broken_connection_is_a_reason_to_probe() -> None:
    upstream = make()
    upstream.doubt(10.0)
    assert upstream.out_since is None
    assert upstream.next_probe(None) == 10.0


def test_retry_after_is_when_the_next_probe_is_due() -> None:
    upstream = make()
    upstream.lost(10.0, 9.0, certain=True)
    assert upstream.retry_after(10.0) == 3
    assert upstream.retry_after(11.5) == 2
    assert upstream.retry_after(20.0) == 1


def test_a_request_has_an_upstream_out_of_reach_probed_once_a_second() -> None:
    upstream = make()
    assert not upstream.wanted(5.0), "it is in reach"
    upstream.lost(10.0, 9.0, certain=True)
    assert not upstream.wanted(10.9)
    assert upstream.wanted(11.1)
    assert upstream.next_probe(None) == 11.1
    upstream.probe_failed(13.0, 11.1, certain=True)
    assert not upstream.wanted(13.5)
    assert upstream.wanted(14.1)
