# SPDX-License-Identifier: Apache-2.0
"""One fleet at real endpoints: what it costs, and its return when one of them is started anew."""

import collections.abc
import contextlib
import pathlib
import time
import typing

from bench import places
from bench import processes
from bench import site
from bench import storms
from bench import usage

_STANDINS = ["standin-0", "standin-1"]
_LIVE = 2
_LIVE_SIZE = 12 * 1024
_JOIN_SECONDS = 120.0


class Fleet:
    """The parts of one run, in a directory of its own."""

    def __init__(
        self, plan: storms.Plan, workdir: pathlib.Path, stack: contextlib.ExitStack
    ) -> None:
        self._plan = plan
        self._workdir = workdir
        self._stack = stack
        self._hosts = [f"edge-{number:05}" for number in range(plan.sessions)]
        keys = site.Keys(workdir / "keys") if plan.encrypted else None
        if keys is not None:
            keys.enroll(self._hosts, _STANDINS)
        room = plan.sessions + plan.sessions // 20 + len(_STANDINS) + _LIVE + 8
        self.endpoints = [
            stack.enter_context(site.Endpoint(workdir / f"endpoint-{number}.log", room, keys))
            for number in range(plan.endpoints)
        ]
        self.empty = self.endpoints[0].usage()
        self._keys = keys

    def gather(self) -> None:
        """Start everybody, and return when everybody is linked and knows a consumer."""
        plan = self._plan
        # All of them before the first is waited for: they take seconds to load what they need.
        self.consumers = self._process("stand-ins")
        self.simulators = [self._process(f"computes-{n}") for n in range(plan.crowds())]
        self.centre, centre_place = self._live("centre", places.CONDUCTOR_HOST)
        self.caller, caller_place = self._live("caller", places.COMPUTE_HOST)
        self._join(self.consumers, "consumer", _STANDINS, 0, 0.0)
        for number, simulator in enumerate(self.simulators):
            hosts = self._hosts[number :: len(self.simulators)]
            self._join(simulator, "compute", hosts, number + 1, plan.sessions / plan.pace)
        self.centre.ask("open", place=vars(centre_place))
        self.centre.ask("begin", size=_LIVE_SIZE)
        self.caller.ask("open", place=vars(caller_place))
        wanted = plan.sessions * plan.endpoints
        site.wait_for(lambda: self.counted("routed") == wanted, plan.patience, "the first links")

    def _join(
        self, process: processes.Child, role: str, hosts: list[str], number: int, seconds: float
    ) -> None:
        process.ask(
            "join",
            timeout=_JOIN_SECONDS,
            role=role,
            url=self._url("", compression="zstd"),
            hosts=hosts,
            first=number * self._plan.sessions,
            network=f"127.{2 + number}.0",
            seconds=seconds,
        )

    def _url(self, virtual_host: str, **options: str) -> str:
        addresses = [each.address for each in self.endpoints]
        return site.url(addresses, virtual_host, self._keys, options)

    def _process(self, name: str) -> processes.Child:
        child = processes.Child(name, site.CROWD, self._workdir / f"{name}.log")
        self._stack.callback(child.stop)
        return child

    def _live(self, role: str, host: str) -> tuple[processes.Worker, places.Place]:
        """A peer of the driver, in a virtual host of its own, and what it is to open."""
        worker = processes.Worker(role, "edge", self._workdir / f"{role}.log")
        self._stack.callback(worker.stop)
        options = {"journal_dir": str(self._workdir / role), "autonomy": "off"}
        if self._keys is not None:
            options["curve_key_file"] = f"{host}.key"
        url = self._url("live", **options)
        return worker, places.Place(url, "nova", "conductor", "compute", "notifications", host)

    def ask_all(self, command: str, **arguments: object) -> list[dict[str, typing.Any]]:
        """The answers of all simulators."""
        for each in self.simulators:
            each.tell(command, **arguments)
        return [each.answer(command, 120.0) for each in self.simulators]

    def counted(self, name: str) -> float:
        """A figure of :meth:`bench.crowd_loop.CrowdLoop.state`, of all simulators together."""
        return sum(each[name] for each in self.ask_all("state"))

    def simulators_cpu(self) -> float:
        """Seconds of processor time of the simulators and the stand-ins, so far."""
        return sum(each.cpu_seconds() for each in (*self.simulators, self.consumers))

    def memory(self) -> int:
        """Bytes of memory that the simulators and the stand-ins have."""
        return sum(
            usage.read(each.pid).memory_bytes for each in (*self.simulators, self.consumers)
        )

    def steady(self, seconds: float, counter: str, cpu_per_ping: float = 0.0) -> storms.Steady:
        """Measure an endpoint for a while.

        :param counter: what of it to count as messages
        :param cpu_per_ping: seconds, where pings are not to be counted
        """
        endpoint = self.endpoints[0]
        began, before, simulators = time.monotonic(), endpoint.usage(), self.simulators_cpu()
        busy, waited = usage.busy_cores_seconds(), self.simulators_waited()
        counts, sent = endpoint.counts(), self._pings()
        time.sleep(seconds)
        later, pings = endpoint.counts(), self._pings() - sent
        after, took = endpoint.usage(), time.monotonic() - began
        simulators = self.simulators_cpu() - simulators
        messages = later[counter] - counts[counter]
        cpu = after.cpu_seconds - before.cpu_seconds
        return storms.Steady(
            seconds=took,
            messages=messages,
            pings=pings,
            packets_in=later["packets_in"] - counts["packets_in"],
            packets_out=later["packets_out"] - counts["packets_out"],
            cpu_seconds=cpu,
            loop_seconds=after.loop_seconds - before.loop_seconds,
            io_seconds=after.io_seconds - before.io_seconds,
            cpu_per_thousand=(
                1000 * (cpu - pings * cpu_per_ping) / messages if messages else None
            ),
            simulators_cpu_seconds=simulators,
            waited_seconds={
                "endpoint": after.waited_seconds - before.waited_seconds,
                "simulators": self.simulators_waited() - waited,
            },
            busy_cores=(usage.busy_cores_seconds() - busy) / took,
        )

    def waits(self) -> dict[str, float]:
        """Seconds for which each kind of process had no processor, simulators on average."""
        each = {"caller": self.caller.pid, "centre": self.centre.pid}
        each["stand-ins"] = self.consumers.pid
        return {
            "endpoint": self.endpoints[0].usage().waited_seconds,
            "simulators": self.simulators_waited(),
            **{name: usage.read(pid).waited_seconds for name, pid in each.items()},
        }

    def simulators_waited(self) -> float:
        """Seconds for which the simulators had no processor, so far and on average."""
        waits = [usage.read(each.pid).waited_seconds for each in self.simulators]
        return sum(waits) / len(waits)

    def _pings(self) -> int:
        """Packets that the computes have sent to each endpoint and that carried no report."""
        found = self.ask_all("state")
        packets = sum(each["packets"] - each["reported"] for each in found)
        return int(packets) // self._plan.endpoints

    def storm(self) -> tuple[float, storms.Storm]:
        """Kill an endpoint, start it again, and wait for its sessions; also tell when it was."""
        endpoint, plan = self.endpoints[0], self._plan
        before, busy = self.simulators_cpu(), usage.busy_cores_seconds()
        died_at = time.monotonic()
        endpoint.kill()
        endpoint.start()
        ready_at = time.monotonic()

        def are_back() -> bool:
            found = self.ask_all("returned", endpoint=0, since=died_at, times=False)
            return sum(each["routed"] for each in found) == plan.sessions

        with contextlib.suppress(processes.ChildFailed):
            site.wait_for(are_back, plan.patience, "the return")
        used = endpoint.usage()
        simulators = self.simulators_cpu() - before
        busy_cores = (usage.busy_cores_seconds() - busy) / (time.monotonic() - died_at)
        found = self.ask_all("returned", endpoint=0, since=died_at, times=True)
        linked, routed = (
            sorted(at - died_at for each in found for at in each[name])
            for name in ("linked", "routed")
        )
        shares = {
            str(percent): storms.share(linked, percent, plan.sessions)
            for percent in (1, 50, 90, 99)
        }
        return died_at, storms.Storm(
            down_seconds=ready_at - died_at,
            linked=shares,
            all_linked_seconds=storms.share(linked, 100, plan.sessions),
            all_routed_seconds=storms.share(routed, 100, plan.sessions),
            missing=plan.sessions - len(linked),
            cpu_seconds=used.cpu_seconds,
            loop_seconds=used.loop_seconds,
            io_seconds=used.io_seconds,
            simulators_cpu_seconds=simulators,
            waited_seconds=used.waited_seconds,
            busy_cores=busy_cores,
        )


def run(
    workdir: pathlib.Path, plan: storms.Plan, progress: collections.abc.Callable[[str], None]
) -> storms.Outcome:
    """Measure one fleet.

    :param workdir: existing directory for journals, keys and logs
    :raises bench.processes.ChildFailed: when a part fails, or not everybody is linked in time
    """
    with contextlib.ExitStack() as stack:
        fleet = Fleet(plan, workdir, stack)
        progress(f"{plan.sessions} sessions at each of {plan.endpoints} endpoints: first links")
        fleet.gather()
        time.sleep(plan.settle)
        linked = fleet.endpoints[0].usage()
        progress("pings")
        pings = fleet.steady(plan.seconds, "packets_in")
        progress("reports")
        fleet.ask_all("report", interval=plan.interval)
        time.sleep(min(plan.settle, plan.interval))
        per_ping = (pings.cpu_per_thousand or 0.0) / 1000
        reports = fleet.steady(plan.seconds, "delivered", per_ping)
        steady = fleet.endpoints[0].usage()
        progress("live calls")
        fleet.caller.ask("begin", size=_LIVE_SIZE, rate=plan.rate)
        waits, began = fleet.waits(), time.monotonic()
        time.sleep(plan.seconds)
        took = time.monotonic() - began
        live_waits = {name: (each - waits[name]) / took for name, each in fleet.waits().items()}
        progress("storm")
        died_at, storm = fleet.storm()
        steady_at = time.monotonic()
        time.sleep(plan.seconds)
        returned = fleet.endpoints[0].usage()
        calls = fleet.caller.ask("end", timeout=plan.patience)["calls"]
        return storms.Outcome(
            plan=plan,
            memory_bytes={
                "empty": fleet.empty.memory_bytes,
                "linked": linked.memory_bytes,
                "steady": steady.memory_bytes,
                "returned": returned.memory_bytes,
            },
            descriptors={"empty": fleet.empty.descriptors, "linked": linked.descriptors},
            pings=pings,
            reports=reports,
            storm=storm,
            live=storms.latencies(calls, died_at, steady_at),
            live_waits=live_waits,
            reports_sent=int(fleet.counted("reported")),
            reports_answered=int(fleet.counted("replied")),
            simulators_memory_bytes=fleet.memory(),
        )
