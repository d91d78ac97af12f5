# SPDX-License-Identifier: Apache-2.0
"""A run: what is done to its processes, and the history that they leave."""

from __future__ import annotations

import itertools
import json
import pathlib
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy

from tests.consistency import collecting
from tests.consistency import commits
from tests.consistency import history
from tests.consistency import schedule
from tests.consistency.history import Final
from tests.consistency.history import History
from tests.consistency.history import Kind
from tests.consistency.history import Restored
from tests.consistency.processes import SECONDS
from tests.consistency.processes import Processes
from tests.faults import failover
from tests.faults import forker as forkers
from tests.faults import history as logs
from tests.faults import journals as inboxes
from tests.nova import journals
from tests.nova import processes
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import rows

_PACE_SECONDS = 5.0
"""How long an action waits at most for the operations that should come before it."""
ELSEWHERE = "elsewhere"
_LOCK_SECONDS = 60


class World(Processes):
    """What can be done to processes, and the history that they leave.

    :param database: the URL of a cell database that nobody else uses, watched
    :param hosts: their names
    :param groups: how many instances each of them has
    :param options: see :class:`~tests.consistency.processes.Processes`
    """

    def __init__(
        self,
        directory: pathlib.Path,
        database: str,
        forker: forkers.Forker,
        *,
        hosts: tuple[str, ...] = schedule.HOSTS,
        groups: int = schedule.GROUPS,
        **options: Any,
    ) -> None:
        super().__init__(directory, database, forker, **options)
        # A conductor that is held up with the write lock keeps the centre's own writes waiting.
        waiting = {"timeout": _LOCK_SECONDS} if database.startswith("sqlite") else {}
        self._engine = sqlalchemy.create_engine(database, connect_args=waiting)
        self._nemesis: list[tuple[float, str]] = []
        self._restored: list[Restored] = []
        self._superseded: list[str] = []
        self._copied: dict[str, float] = {}
        self._cut_at: dict[str, float] = {}
        self._former: dict[str, forkers.Child] = {}
        self._orders = itertools.count(1)
        self._initial: dict[str, dict[str, str]] = {}
        self._gone: set[str] = set()
        self._make_groups(hosts, groups)
        self.start()

    def _make_groups(self, hosts: tuple[str, ...], count: int) -> None:
        centre = centres.Centre(pathlib.Path("unused"), self._database)
        for name in hosts:
            rows.service(centre, host=name)
            made = [
                rows.instance(centre, host=name, display_name="new", display_description="new")
                for _ in range(count)
            ]
            self.groups[name] = [str(each.uuid) for each in made]
            for each in made:
                self._initial[str(each.uuid)] = {
                    "name": "new",
                    "description": "new",
                    history.HOST: name,
                }
        centre.close()

    def close(self) -> None:
        """Kill what runs, and let go of the database."""
        super().close()
        self._engine.dispose()

    # What happens.

    def note(self, what: str) -> None:
        """Write down what is done to the processes, for whoever reads a history."""
        self._nemesis.append((time.monotonic(), what))

    def act(self, action: schedule.Action) -> None:
        """Let one action of a schedule happen, when it is time."""
        self._await_operations(action.after)
        self.note(" ".join(map(str, action[1:])).strip())
        way = getattr(self, action.what.replace(" ", "_"))
        way(*(each for each in action[2:] if each))

    def kill_host(self, name: str) -> None:
        """kill -9, and a next life."""
        self._hosts[name].kill()
        self.start_host(name)

    def end_host(self, name: str) -> None:
        """kill -9."""
        self._hosts[name].kill()

    def kill_conductor(self, name: str, death: str = "") -> None:
        """kill -9, and a next life, which may end by itself at a commit."""
        self._conductors[name].kill()
        self._conductors[name] = self._start_conductor(name, death)

    def kill_endpoint(self, number: str) -> None:
        """kill -9, and a next life."""
        self._endpoints[int(number)].kill()
        self._endpoints[int(number)] = self._start_endpoint(int(number))

    def stop_conductor(self, name: str) -> None:
        """SIGSTOP."""
        self._conductors[name].signal(signal.SIGSTOP)

    def continue_conductor(self, name: str) -> None:
        """SIGCONT."""
        self._conductors[name].signal(signal.SIGCONT)

    def stop_endpoint(self, number: str) -> None:
        """SIGSTOP."""
        self._endpoints[int(number)].signal(signal.SIGSTOP)

    def continue_endpoint(self, number: str) -> None:
        """SIGCONT."""
        self._endpoints[int(number)].signal(signal.SIGCONT)

    def cut(self, name: str, how: str) -> None:
        """No link of a host carries anything; those of a reset have lost what they held."""
        self._cut_at[name] = time.monotonic()
        for relay in self._relays[name]:
            relay.silence()
            if how == "reset":
                relay.reset()

    def silence(self, name: str, way: str) -> None:
        """One link of a host is silent."""
        self._relays[name][int(way)].silence()

    def heal(self, name: str) -> None:
        """The links of a host carry again."""
        for relay in self._relays[name]:
            relay.resume()

    def copy(self, name: str) -> None:
        """Copy a host's journal while no process has it open."""
        self._hosts[name].kill()
        self._copied[name] = time.monotonic()
        target = self._journals(name).with_suffix(".copy")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self._journals(name), target)
        self.start_host(name)

    def restore(self, name: str) -> None:
        """Put a host's journal back to the copy; what reads it begins anew."""
        self._hosts[name].kill()
        self._restored.append(Restored(name, self._copied[name], time.monotonic()))
        shutil.rmtree(self._journals(name))
        shutil.copytree(self._journals(name).with_suffix(".copy"), self._journals(name))
        self._begin_session(name)
        self.start_host(name)

    def clone(self, name: str) -> Callable[[], None]:
        """Stop a host's process, and go on with a copy of its journal in another one.

        :returns: what lets the stopped process go on
        """
        former = self._hosts[name]
        self._former[name] = former
        former.signal(signal.SIGSTOP)
        self._superseded.append(f"{name}.{self.life[name]}")
        target = self.directory / f"{name}-clone"
        shutil.copytree(self._journals(name), target)
        self._begin_session(name)
        self.start_host(name, target)
        return lambda: former.signal(signal.SIGCONT)

    def evacuate(self, name: str, group: str) -> None:
        """The centre has a host's instance elsewhere."""
        self._leave(name, group, host=ELSEWHERE)

    def delete(self, name: str, group: str) -> None:
        """The centre has no such instance any more."""
        self._leave(name, group, deleted=1)

    def _leave(self, name: str, group: str, **values: Any) -> None:
        # As nova sees to it: only long after everybody has given the link up.
        time.sleep(max(0.0, self._cut_at[name] + failover.SILENCE - time.monotonic()))
        uuid = self.groups[name][int(group)]
        if uuid not in self._gone:
            self._gone.add(uuid)
            commits.change(self._engine, uuid, **values)

    def centre_writes(self, name: str, group: str) -> None:
        """The centre writes to a register of an instance itself."""
        uuid = self.groups[name][int(group)]
        value = f"centre {time.monotonic():.6f}"
        commits.change(self._engine, uuid, display_description=value)

    # What the hosts do.

    def work(self, *hosts: str) -> None:
        """Let the threads of these hosts work at random, and those of no other."""
        for name in self._hosts:
            path = self.directory / f"{name}.works"
            path.touch() if name in hosts else path.unlink(missing_ok=True)

    def order(
        self, name: str, *operations: tuple[str, str, list[str]], life: int = 0
    ) -> Callable[[], bool]:
        """Let a host do operations, one after the other; returns what tells that it has."""
        number, life = next(self._orders), life or self.life[name]
        path = self.directory / f"{name}-{life}.{number:04}.order"
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(operations))
        draft.rename(path)
        return path.with_suffix(".done").exists

    def do(self, name: str, *operations: tuple[str, str, list[str]]) -> None:
        """Let a host do operations, and wait until it has."""
        self.wait(self.order(name, *operations), f"{name} to do {operations[:3]}")

    def await_deaths(self) -> None:
        """Wait until each conductor has come to its death at a commit."""
        for name, child in self._conductors.items():
            self.wait(lambda child=child: _is_dead(child.pid), f"the death of conductor {name}")

    def await_silence_of_former(self) -> None:
        """Wait until those whose journals others have taken over have shipped all, or gave up."""
        for name, each in self._former.items():

            def is_silent(name: str = name, each: forkers.Child = each) -> bool:
                pending = journals.entries_pending(self._journals(name))
                return not pending or "is fenced" in each.tail(1000)

            self.wait(is_silent, f"{each.name} to say no more")

    @staticmethod
    def wait_at_most(seconds: float, check: Callable[[], bool]) -> None:
        """Return as soon as check() is true, or when time is up."""
        deadline = time.monotonic() + seconds
        while not check() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _await_operations(self, count: int) -> None:
        before = self._returned()
        self.wait_at_most(_PACE_SECONDS, lambda: self._returned() >= before + count)

    def _returned(self) -> int:
        path = self.directory / "said"
        return path.read_bytes().count(b'"returned"') if path.exists() else 0

    # The end.

    def heal_all(self) -> None:
        """Let everything go on, and every process be there that should be."""
        self.note("heal all")
        for former in self._former.values():
            former.kill()
        for name in self._hosts:
            self.heal(name)
        for child in [*self._endpoints, *self._conductors.values()]:
            child.signal(signal.SIGCONT)
        for name in self._conductors:
            # One that waits for its death at a commit could die in the midst of the drain.
            self.kill_conductor(name)

    def drain(self, seconds: float = SECONDS) -> bool:
        """Wait until nothing is pending, and tell whether it got so."""
        self.wait_at_most(seconds, self._is_drained)
        return self._is_drained()

    def _is_drained(self) -> bool:
        if any(journals.entries_pending(path) for path in self._open_journals()):
            return False
        return not any(map(inboxes.has_work, (self.directory / "centre").glob("*.db")))

    def finish(self, seconds: float = SECONDS) -> History:
        """Stop the work, heal, drain, let each side tell what it has, and return the history."""
        self.work()
        self.heal_all()
        self.wait(self._is_at_rest, "all operations to end")
        self.drain(seconds)
        reads = {
            name: [("read", group, []) for group in self.groups[name] if group not in self._gone]
            for name in self._hosts
        }
        for name, some in reads.items():
            self.do(name, *some)
        since = time.monotonic()
        for name in self._hosts:
            self.cut(name, "reset")
        for order in [self.order(name, *some) for name, some in reads.items()]:
            self.wait(order, "the last reads")
        return self._collect(since)

    def _is_at_rest(self) -> bool:
        """Whether the present lives have ended all that they began."""
        under_way: dict[Any, int] = {}
        for event in logs.read(self.directory / "said"):
            if event.what in ("begun", "returned", "failed"):
                under_way[event.mark] = event.what == "begun"
        return not any(
            begun and self.life[mark.client] == mark.life for mark, begun in under_way.items()
        )

    def _collect(self, since: float) -> History:
        log = logs.read(self.directory / "said")
        told = History(
            lives=collecting.lives(log),
            operations=collecting.operations(log),
            effects=commits.effects(self._engine, self._initial),
            handed=collecting.handed(logs.read(self.directory / "handed")),
            restored=self._restored,
            superseded=self._superseded,
            refused=commits.refused(self._engine),
            nemesis=self._nemesis,
        )
        for directory in self._open_journals():
            for path in sorted(directory.glob("*.db")):
                told.endings += collecting.endings(path)
        for path in (self.directory / "centre").glob("*.db"):
            told.interrupted += map(collecting.name_of, inboxes.interrupted(path))
        for group in self._initial:
            values = commits.read(self._engine, group)
            told.finals += [Final("centre", group, *each) for each in values.items()]
        for each in told.operations:
            if each.kind == Kind.READ and each.begun > since:
                told.finals += [
                    Final(each.life, each.group, *seen) for seen in each.values.items()
                ]
        return told


def _is_dead(pid: int) -> bool:
    """Whether a process has ended; its parent may not have looked yet."""
    return processes.run_state(pid) == "Z"
