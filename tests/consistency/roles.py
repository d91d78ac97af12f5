# SPDX-License-Identifier: Apache-2.0
"""What the processes of a run do: endpoints, conductors, hosts. Nothing here fails a test.

A *mutant* is applied to a process before it begins, see :mod:`tests.consistency.mutants`.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import threading
import time
from typing import Any

import sqlalchemy
from nova import context as nova_context
from nova import objects
from nova.objects import base
from sqlalchemy import event
from sqlalchemy import orm

from nova_edge_bus.delivery import receiver
from nova_edge_bus.runtime import registry
from tests.consistency import commits
from tests.consistency import mutants
from tests.consistency.history import Kind
from tests.driver import peers
from tests.faults import COMMANDS
from tests.faults import conductor as conductors
from tests.faults import failover_roles
from tests.faults import history as logs
from tests.nova import sqlite_writers
from tests.unit.snapshot import centre as centres

CALL_SECONDS = 15
_PUT_OFF_SECONDS = 0.3
_POLL_SECONDS = 0.005
LEAST_TIME, MOST_TIME = 0.0, 0.02
"""Seconds that each dispatch takes beside its own work, so that those of a moment meet."""


def warm_up() -> None:
    """Load what is loaded on its first use, so that the forked need not."""
    failover_roles.warm_up()
    sqlite_writers.install()


def endpoint(port: int, ready: str, directory: str, name: str, mutant: str) -> int:
    """An endpoint that gives a silent peer up soon."""
    mutants.apply(mutant)
    return failover_roles.endpoint(port, ready, directory, name)


def conductor(url: str, name: str, directory: str, database: str, death: str, mutant: str) -> int:
    """Nova's object methods, and commands, until the process is ended or its death comes.

    :param death: at which commit it ends by SIGKILL, such as ``before 3``; "" for none
    """
    scene = pathlib.Path(directory)
    if death:
        _die(*death.split())
    mutants.apply(mutant, database)
    receiver.PUT_OFF_SECONDS = _PUT_OFF_SECONDS
    base.NovaObject.indirection_api = None
    peer = peers.Peer(
        url,
        scene / "centre",
        prog="nova-conductor",
        host=name,
        link_timeout=failover_roles.LINK_TIMEOUT,
        adoption_interval=3600.0,
    )
    centre = centres.Centre(pathlib.Path("unused"), database)
    peer.serve(conductors.TOPIC, name, _Conductor(centre))
    receiving = _Receiver(
        sqlalchemy.create_engine(database), logs.Writer(str(scene / "handed"), name)
    )
    peer.serve(COMMANDS, name, receiving, threads=1)
    (scene / f"{name}.ready").touch()
    while True:
        signal.pause()


def _die(where: str, commit: str) -> None:
    """End in the midst of a commit of nova's: just before it, or before anything comes after."""
    made = 0

    def at_commit(session: orm.Session) -> None:
        nonlocal made
        made += not session.in_nested_transaction()
        if made == int(commit):
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(orm.Session, f"{where}_commit", at_commit)


class _Conductor(conductors.Conductor):
    """A conductor with a little work beside the database."""

    def _apply(self, context: Any, method: str, arguments: Any) -> Any:
        time.sleep(random.uniform(LEAST_TIME, MOST_TIME))
        return super()._apply(context, method, arguments)


class _Receiver:
    """Takes commands, and notes what it finds in the database."""

    def __init__(self, engine: sqlalchemy.Engine, writer: logs.Writer) -> None:
        self._engine = engine
        self._writer = writer

    def touch(self, ctxt: Any, instance: Any, mark: Any) -> None:
        """Take one."""
        found = logs.Mark(*mark)
        self._writer.add("handed", found, commits.read(self._engine, found.group))


def host(
    url: str,
    host: str,
    life: int,
    session: str,
    directory: str,
    journals: str,
    groups: list[str],
    servers: list[str],
    seed: int,
    threads: int,
    pause: float,
    write_behind: bool,
    mutant: str,
) -> int:
    """Work at random and obey orders until the process is ended.

    :param threads: how many work at random while the file HOST.works is there
    :param pause: seconds between two operations of a thread at most
    """
    scene = pathlib.Path(directory)
    mutants.apply(mutant)
    peer = peers.Peer(
        url,
        pathlib.Path(journals),
        prog="nova-compute",
        host=host,
        exmods=["nova.exception"],
        link_timeout=failover_roles.LINK_TIMEOUT,
        consumer_grace=3600.0,
        adoption_interval=3600.0,
        write_behind=write_behind,
        compression="zstd",
    )
    # As nova-compute does: it is what takes the journal up.
    peer.serve("compute", host, object())
    # Exactly one: this process has one journal.
    (runtime,) = registry._runtimes.values()
    store = runtime.store
    writer = logs.Writer(str(scene / "said"), host)
    told = [session, store.outbox_id.hex(), store.epoch]
    writer.add("life", logs.Mark("life", host, 0, life, 0, ""), told)
    client = peer.client(conductors.TOPIC, timeout=CALL_SECONDS, version="3.0")
    commands = peer.client(COMMANDS, timeout=CALL_SECONDS)

    def ask(ctxt: Any, message: Any) -> Any:
        return client.call(ctxt, message["method"], **message["args"])

    with centres.over(ask):
        doers = [
            Doer(host, life, thread, groups, commands, servers, writer)
            for thread in range(threads + 1)
        ]
        (scene / f"{host}-{life}.ready").touch()
        for doer in doers[1:]:
            chance = random.Random(f"{seed} {host} {life} {doer.thread}")
            threading.Thread(target=_work, args=(scene, doer, chance, pause), daemon=True).start()
        _obey(scene, life, doers[0])
    return 0


def _work(scene: pathlib.Path, doer: Doer, chance: random.Random, pause: float) -> None:
    """Work at random; each thread writes to groups of its own, and reads all of them."""
    kinds = [Kind.SAVE] * 4 + [Kind.READ] * 4 + [Kind.FAULT, Kind.CAST, Kind.CAST, Kind.BEAT]
    while True:
        if not (scene / f"{doer.host}.works").exists():
            time.sleep(_POLL_SECONDS)
            continue
        kind = chance.choice(kinds)
        if kind is Kind.BEAT and doer.thread > 1:
            kind = Kind.READ
        owned = doer.groups if kind is Kind.READ else doer.groups[doer.thread - 1 :: 2]
        doer.do(kind, chance.choice(owned), chance.choice([["name"], ["description"], ["name"]]))
        time.sleep(chance.uniform(0, pause))


def _obey(scene: pathlib.Path, life: int, doer: Doer) -> None:
    """Do what the orders say, one after the other."""
    while True:
        for path in sorted(scene.glob(f"{doer.host}-{life}.*.order")):
            for kind, group, fields in json.loads(path.read_text()):
                doer.do(Kind(kind), group, fields)
            path.rename(path.with_suffix(".done"))
        time.sleep(_POLL_SECONDS)


class Doer:
    """One thread of a host, and how it does each operation."""

    def __init__(
        self,
        host: str,
        life: int,
        thread: int,
        groups: list[str],
        commands: Any,
        servers: list[str],
        writer: logs.Writer,
    ) -> None:
        self.host, self.life, self.thread, self.groups = host, life, thread, groups
        self._commands = commands
        self._servers = servers
        self._writer = writer
        self._number = 0
        self._known: dict[str, Any] = {}
        self._service: Any = None
        self._context = nova_context.get_admin_context()

    def do(self, kind: Kind, group: str, fields: list[str]) -> None:
        """Do it, and write down when it began, and that it has returned if it does."""
        self._number += 1
        group = self.host if kind is Kind.BEAT else group
        mark = logs.Mark(str(kind), self.host, self.thread, self.life, self._number, group)
        try:
            way = self._prepared(kind, group)
        except Exception:
            # What it works on is not known here yet; nothing has begun.
            return
        if way is None:
            return
        self._writer.add("begun", mark, fields)
        try:
            found = way(mark, fields)
        except Exception as error:
            # Read anew: else what it has not saved is saved with the next one.
            self._known.pop(group, None)
            self._writer.add("failed", mark, repr(error)[:300])
        else:
            self._writer.add("returned", mark, found)

    def _prepared(self, kind: Kind, group: str) -> Any:
        """How to do it; None for what this host has no say in any more."""
        if kind is Kind.BEAT:
            if self._service is None:
                self._service = objects.Service.get_by_host_and_binary(
                    self._context, self.host, "nova-compute"
                )
            return self._beat
        if group not in self._known:
            self._known[group] = objects.Instance.get_by_uuid(self._context, group, [])
        if kind is not Kind.READ and self._known[group].host != self.host:
            return None
        ways = {
            Kind.SAVE: self._save,
            Kind.FAULT: self._fault,
            Kind.CAST: self._cast,
            Kind.READ: self._read,
        }
        return ways[kind]

    def _save(self, mark: logs.Mark, fields: list[str]) -> None:
        instance = self._known[mark.group]
        for field in fields:
            setattr(instance, commits.FIELDS[field], name_of(mark))
        instance.save()

    def _fault(self, mark: logs.Mark, fields: list[str]) -> None:
        fault = objects.InstanceFault(
            self._context, instance_uuid=mark.group, code=500, message=name_of(mark)
        )
        fault.host, fault.details = self.host, ""
        fault.create()

    def _beat(self, mark: logs.Mark, fields: list[str]) -> None:
        self._service.report_count = int(name_of(mark).rpartition(":")[2])
        self._service.save()

    def _cast(self, mark: logs.Mark, fields: list[str]) -> None:
        server = self._servers[sum(mark.group.encode()) % len(self._servers)]
        instance = peers.instance(mark.group)
        self._commands.prepare(server=server).cast({}, "touch", instance=instance, mark=mark)

    def _read(self, mark: logs.Mark, fields: list[str]) -> dict[str, str]:
        found = objects.Instance.get_by_uuid(self._context, mark.group, [])
        if found.host != self.host:
            self._known[mark.group] = found
        return {field: getattr(found, column) or "" for field, column in commits.FIELDS.items()}


def name_of(mark: logs.Mark) -> str:
    """What an operation writes, and is known by."""
    if mark.kind == Kind.BEAT:
        return f"{mark.client}:{(mark.life * 10 + mark.thread) * 100_000 + mark.number}"
    return f"{mark.client}.{mark.life}.{mark.thread}.{mark.number}"
