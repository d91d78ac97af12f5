# SPDX-License-Identifier: Apache-2.0
"""A compute's whole site is cut off while guests and users go on, and comes back.

The runner makes things happen and reports what became of them; it asserts nothing, so that it can
be run over any bus. A test states its claims on the report:

    report = site_cut.run(stack, seconds=60, restart=site_cut.KILL)
    assert not report.wrong
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

from tests.nova import hypervisor
from tests.nova import rpc_trace
from tests.nova import timeline
from tests.nova.config import Options
from tests.nova.processes import NotReadyError
from tests.nova.processes import wait_until
from tests.nova.site_report import Outcome
from tests.nova.site_report import Report
from tests.nova.site_report import Role
from tests.nova.stack import Compute
from tests.nova.stack import NovaStack
from tests.nova.timeline import CentralState
from tests.nova.timeline import Recorder
from tests.nova.timeline import Sample
from tests.nova.timeline import Timeline

GRACEFUL = "graceful"
KILL = "kill"

CUT = "link cut"
HEALED = "link back"
_OPERATION_SECONDS = 3.0
_REQUEST_SECONDS = 30.0
_CALM_SECONDS = 5.0
_START_SECONDS = 60.0
_SEEN_SECONDS = 3.0
"""What a nova-compute that was started in the cut serves in it at least, so that it is seen."""


LEFT_ALONE = Role("left alone", "RUNNING", "ACTIVE")
PANICS = Role("panics in the cut", "SHUTDOWN", "SHUTOFF")
POWERS_OFF = Role("powers off in the cut", "SHUTDOWN", "SHUTOFF")
BEING_STOPPED = Role("being stopped at the cut", "SHUTDOWN", "SHUTOFF")
BEING_REBOOTED = Role("being rebooted at the cut", "RUNNING", "ACTIVE")
STOPPED = Role("stopped by a user in the cut", "SHUTDOWN", "SHUTOFF")
DELETED = Role("deleted by a user in the cut", timeline.GONE, timeline.GONE)
POWERS_OFF_LATE = Role("powers off late in the cut", "SHUTDOWN", "SHUTOFF")
ROLES = (
    LEFT_ALONE,
    PANICS,
    POWERS_OFF,
    BEING_STOPPED,
    BEING_REBOOTED,
    STOPPED,
    DELETED,
    POWERS_OFF_LATE,
)


def options() -> Options:
    """Return options for all services, with which a cut of a minute shows all there is to see."""
    return {"DEFAULT": {"report_interval": 5, "service_down_time": 20}}


def compute_options() -> Options:
    """Return options for the computes: periodic tasks that run every ten seconds.

    Power sync, resource audit, and the search for domains whose server has been deleted.
    """
    return {
        "DEFAULT": {
            "sync_power_state_interval": 10,
            "update_resources_interval": 10,
            "running_deleted_instance_poll_interval": 10,
            "periodic_fuzzy_delay": 0,
        }
    }


def run(
    stack: NovaStack,
    *,
    seconds: float,
    servers: int = len(ROLES),
    restart: str | None = None,
    linked_seconds: float = 20.0,
    settle_seconds: float = 120.0,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Boot servers on the first compute, cut its site, let things happen, heal, and report.

    The servers are left in place: see delete_servers().

    :param seconds: how long the site is cut
    :param servers: at least one for each role; what is more is left alone
    :param restart: whether and how nova-compute is ended and started in the middle of the cut:
        GRACEFUL or KILL
    :param linked_seconds: how long the site is linked once the servers run, before the cut: the
        edge bus needs some of it to see the new servers whole, and a start without that waits
    :param settle_seconds: how long to wait after the heal for all to be right
    :param say: told what is going on
    :raises ServerError: when a server cannot be booted
    """
    return _Run(stack, servers, restart, say).run(linked_seconds, seconds, settle_seconds)


def delete_servers(stack: NovaStack, report: Report) -> None:
    """Delete what a run has left; the compute should be linked again.

    :raises ServerError: when one does not go
    """
    known = {server["id"] for server in stack.client.servers()}
    for each in report.outcomes:
        if each.server_id in known:
            stack.client.delete(each.server_id)


class _Run:
    """One run: who has which role, and who watches."""

    def __init__(
        self, stack: NovaStack, servers: int, restart: str | None, say: Callable[[str], None]
    ) -> None:
        self._stack = stack
        self._client = stack.client
        self._compute = stack.computes[0]
        self._restart = restart
        self._say = say
        self._restarted_in: float | None = None
        self._served_at = 0.0
        roles = [*ROLES, *[LEFT_ALONE] * (servers - len(ROLES))]
        self._began = time.time()
        self._servers = _boot(stack, self._compute, roles)
        self._ids = {role: server_id for server_id, role in reversed(self._servers.items())}
        self._recorder = Recorder(stack, self._compute, list(self._servers))

    def run(self, linked_seconds: float, seconds: float, settle_seconds: float) -> Report:
        site = self._compute.site
        with self._recorder:
            time.sleep(linked_seconds)
            self._begin_operations()
            cut_at = self._recorder.now
            with site.cut_off():
                self._note(CUT)
                self._compute.hypervisor.slow_down()
                for share, action in self._during_cut(seconds):
                    self._wait_until(cut_at + share * seconds)
                    action()
                self._wait_until(max(cut_at + seconds, self._served_at + _SEEN_SECONDS))
                before_heal = self._look()
            healed_at = self._recorder.now
            self._note(HEALED)
            self._settle(settle_seconds)
        recorded = self._recorder.counted_from(cut_at)
        return self._report(recorded, healed_at - cut_at, before_heal)

    def _during_cut(self, seconds: float) -> Iterator[tuple[float, Callable[[], None]]]:
        """Yield what happens at which share of a cut of so many seconds."""
        yield 0.05, lambda: self._power(POWERS_OFF, hypervisor.SHUTDOWN)
        yield 0.10, lambda: self._power(PANICS, hypervisor.CRASHED)
        yield 0.20, lambda: self._user(STOPPED, "stop")
        yield 0.25, lambda: self._user(DELETED, "delete")
        yield 0.33, lambda: self._end_compute(0.25 * seconds)
        yield 0.58, lambda: self._start_compute(0.2 * seconds)
        yield 0.80, lambda: self._power(POWERS_OFF_LATE, hypervisor.SHUTDOWN)

    def _begin_operations(self) -> None:
        """Return while nova-compute is at a stop and a hard reboot."""
        self._compute.hypervisor.slow_down(power_off=_OPERATION_SECONDS, reboot=_OPERATION_SECONDS)
        stopped, rebooted = self._ids[BEING_STOPPED], self._ids[BEING_REBOOTED]
        self._client.act(stopped, "os-stop")
        self._client.act(rebooted, "reboot", {"type": "HARD"})
        for server_id, event in (
            (stopped, "compute_stop_instance"),
            (rebooted, "compute_reboot_instance"),
        ):
            wait_until(
                lambda server_id=server_id, event=event: self._has_begun(server_id, event),
                _REQUEST_SECONDS,
                event,
            )
        self._note("a stop and a hard reboot have begun")

    def _has_begun(self, server_id: str, event: str) -> bool:
        return any(
            each["event"] == event
            for action in self._client.actions(server_id)
            for each in action["events"]
        )

    def _power(self, role: Role, state: int) -> None:
        self._compute.hypervisor.set_state(self._ids[role], state)
        self._note("a guest panics" if state == hypervisor.CRASHED else "a guest powers off")

    def _user(self, role: Role, request: str) -> None:
        if request == "stop":
            self._client.act(self._ids[role], "os-stop")
        else:
            self._client.request_delete(self._ids[role])
        self._note(f"a user asks for a {request}")

    def _end_compute(self, seconds: float) -> None:
        if self._restart == KILL:
            self._compute.process.kill()
            self._note("nova-compute killed")
        elif self._restart == GRACEFUL:
            self._note("nova-compute is asked to stop")
            graceful = self._stack.stop_compute(self._compute, seconds)
            self._note(
                "nova-compute stopped" if graceful else "nova-compute does not stop: killed"
            )

    def _start_compute(self, seconds: float) -> None:
        """Start nova-compute, and give it so many seconds to serve; it may go on after them.

        It gets a minute at least: on a machine that is busy the cut lasts longer instead.
        """
        if self._restart is None:
            return
        began = self._recorder.now
        self._note("nova-compute started")
        try:
            patience = max(seconds, _START_SECONDS)
            self._stack.start_compute(self._compute, expect_up=False, seconds=patience)
        except NotReadyError:
            self._note(f"nova-compute does not serve in {patience:.0f} s")
        else:
            self._served_at = self._recorder.now
            self._restarted_in = self._served_at - began
            self._note("nova-compute serves")

    def _settle(self, seconds: float) -> None:
        """Return when all has been right for a while, or time is up."""
        deadline = self._recorder.now + seconds
        right_since: float | None = None
        while self._recorder.now < deadline:
            seen = self._look()
            right = all(
                role.is_right(*seen[server_id]) for server_id, role in self._servers.items()
            )
            if not right or not self._client.is_up(self._compute.host):
                right_since = None
            elif right_since is None:
                right_since = self._recorder.now
            elif self._recorder.now - right_since > _CALM_SECONDS:
                return
            time.sleep(0.5)

    def _look(self) -> dict[str, tuple[str, CentralState]]:
        ids = list(self._servers)
        edge = timeline.edge_states(self._compute, ids)
        centre = timeline.central_states(self._client, ids)
        return {each: (edge[each], centre[each]) for each in ids}

    def _report(
        self,
        recorded: Timeline,
        healed_at: float,
        before_heal: Mapping[str, tuple[str, CentralState]],
    ) -> Report:
        last = self._look()
        outcomes = [
            Outcome(
                role,
                server_id,
                before_heal[server_id],
                last[server_id],
                _right_after(recorded.samples, role, server_id, healed_at),
                _actions(self._stack, server_id),
            )
            for server_id, role in self._servers.items()
        ]
        failed, longest = _rpcs(self._compute, self._began)
        return Report(outcomes, recorded, failed, longest, self._restarted_in)

    def _note(self, what: str) -> None:
        self._recorder.note(what)
        self._say(what)

    def _wait_until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - self._recorder.now))


def _boot(stack: NovaStack, compute: Compute, roles: Sequence[Role]) -> dict[str, Role]:
    booted = {stack.client.create(role.name, host=compute.host): role for role in roles}
    for server_id in booted:
        stack.client.wait_for(server_id, "ACTIVE")
    return booted


def _right_after(
    samples: Sequence[Sample], role: Role, server_id: str, healed_at: float
) -> float | None:
    right_since: float | None = None
    for sample in samples:
        if not role.is_right(sample.edge[server_id], sample.centre[server_id]):
            right_since = None
        elif right_since is None:
            right_since = sample.at
    return None if right_since is None else max(0.0, right_since - healed_at)


def _actions(stack: NovaStack, server_id: str) -> list[str]:
    """Return each action of the server as `stop: Success`, oldest first."""

    def said(action: dict[str, object]) -> str:
        events = action["events"]
        assert isinstance(events, list)
        results = [each["result"] or "unfinished" for each in events] or ["nothing"]
        worst = min(results, key=("Error", "unfinished", "nothing", "Success").index)
        return f"{action['action']}: {action['message'] or worst}"

    return [said(action) for action in reversed(stack.client.actions(server_id))]


def _rpcs(compute: Compute, began: float) -> tuple[Mapping[str, int], float]:
    """Return the RPCs that failed since a moment, and the seconds of the longest call."""
    records = [
        record
        for record in rpc_trace.read(compute.rpc_trace)
        if record["way"] != "served" and record["at"] + record["seconds"] >= began
    ]
    failed = collections.Counter(
        f"{record['method']}: {record['error']}" for record in records if record["error"]
    )
    calls = [record["seconds"] for record in records if record["way"] == "call"]
    return failed, max(calls, default=0.0)
