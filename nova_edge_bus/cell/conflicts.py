# SPDX-License-Identifier: Apache-2.0
"""A save that compares states and was refused: what of it is there, and what of it is still true.

While a host was cut off, the centre may have changed the state that a save of the host expects.
Nova then refuses the save as a whole. Where the instance has all that the save wanted, there is
nothing to be refused. Where it has not, what the hypervisor says in it, such as whether the guest
runs, is true all the same, and is saved by itself.
"""

from __future__ import annotations

import dataclasses
import datetime
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import sqlalchemy

from nova_edge_bus.cell import keyed

FACTS = ("power_state", "launched_at")
"""What the hypervisor alone knows of an instance, in the order in which it is told."""
_CONFLICT, _DELETING = "InstanceUpdateConflict", "UnexpectedDeletingTaskStateError"
_TABLE = "instances"
_SHOWN = 60
"""The most characters of a value that a text shows."""
_lock = threading.Lock()
_reflected: weakref.WeakKeyDictionary[sqlalchemy.Engine, sqlalchemy.Table]
_reflected = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Save:
    """The columns that a save of an instance wanted to change, with what it wanted there."""

    instance: str
    columns: Mapping[str, Any]
    keys: Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Conflict:
    """A refused save beside the row that it was refused for.

    ``wanted`` and ``present`` have the same names: the columns, and the fields whose values are
    sets of keys.
    """

    save: Save
    wanted: Mapping[str, Any]
    present: Mapping[str, Any]

    @property
    def is_there(self) -> bool:
        """Whether the row has all that the save wanted."""
        return bool(self.wanted) and self.wanted == self.present

    @property
    def facts(self) -> dict[str, Any]:
        """What of it is true whatever the centre says."""
        return {name: self.wanted[name] for name in FACTS if name in self.wanted}

    def text(self, saved: Mapping[str, Any]) -> str:
        """What was saved of it and what was not, with the values of both sides."""
        told, refused = [], []
        for name, value in self.wanted.items():
            present = self.present.get(name)
            if name not in saved:
                refused.append(f"{name}={_shown(value)} (the centre has {_shown(present)})")
            elif present == value:
                told.append(f"{name}={_shown(value)}")
            else:
                told.append(f"{name}={_shown(value)} (the centre had {_shown(present)})")
        return f"saved: {_listed(told)}; not saved: {_listed(refused)}"


def is_conflict(error: BaseException) -> bool:
    """Whether nova has refused a save because of the state that it expected.

    Not where the instance is being deleted: that ends it, whatever its guest does.
    """
    names = {each.__name__ for each in type(error).__mro__}
    return _CONFLICT in names and _DELETING not in names


def save_of(message: Mapping[str, Any]) -> Save | None:
    """The save of an instance that a message is, if it is one."""
    arguments = message.get("args") or {}
    target = arguments.get("objinst") or {}
    if (target.get("nova_object.name"), arguments.get("objmethod")) != ("Instance", "save"):
        return None
    data = target.get("nova_object.data") or {}
    changed = {
        name: data[name] for name in target.get("nova_object.changes") or () if name in data
    }
    keys = {name: changed[name] for name in keyed.FIELDS if name in changed}
    # What nova keeps in other tables it has saved before it compares.
    columns = {
        name: value
        for name, value in changed.items()
        if name not in keys and not isinstance(value, (dict, list))
    }
    return Save(str(data.get("uuid")), columns, keys) if changed else None


def look(connection: sqlalchemy.Connection, save: Save) -> Conflict | None:
    """Lock the instance's row and compare; None when it is not there.

    A column that the database does not have is left out, and is so neither there nor missing.
    """
    table = _table(connection)
    columns = {name: value for name, value in save.columns.items() if name in table.c}
    query = (
        sqlalchemy.select(table.c.uuid, *(table.c[name] for name in columns))
        .where(table.c.uuid == save.instance, table.c.deleted == 0)
        .with_for_update()
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    wanted: dict[str, Any] = {
        name: _as_stored(table.c[name], value) for name, value in columns.items()
    }
    present = {name: _comparable(row._mapping[name]) for name in columns}
    for name, keys in save.keys.items():
        wanted[name] = dict(keys)
        present[name] = keyed.read(connection, name, save.instance)
    return Conflict(save, wanted, present)


def save_facts(connection: sqlalchemy.Connection, conflict: Conflict) -> None:
    """Write the facts of a conflict into the row that :func:`look` has locked."""
    if conflict.facts:
        table = _table(connection)
        now = _comparable(datetime.datetime.now(datetime.UTC))
        values = {**conflict.facts, "updated_at": now}
        row = table.c.uuid == conflict.save.instance
        connection.execute(table.update().where(row).values(**values))


def _table(connection: sqlalchemy.Connection) -> sqlalchemy.Table:
    """Nova's table of instances as this database has it."""
    with _lock:
        found = _reflected.get(connection.engine)
    if found is None:
        metadata = sqlalchemy.MetaData()
        found = sqlalchemy.Table(_TABLE, metadata, autoload_with=connection, resolve_fks=False)
        with _lock:
            _reflected[connection.engine] = found
    return found


def _as_stored(column: sqlalchemy.Column[Any], value: Any) -> Any:
    """A value of a message as the database returns it."""
    if isinstance(column.type, sqlalchemy.DateTime) and isinstance(value, str):
        return _comparable(datetime.datetime.fromisoformat(value))
    return value


def _comparable(value: Any) -> Any:
    """Times without a zone, in UTC and whole seconds, as messages carry them."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return value.replace(microsecond=0)
    return value


def _listed(parts: list[str]) -> str:
    return ", ".join(parts) or "nothing"


def _shown(value: Any) -> str:
    text = value.isoformat() if isinstance(value, datetime.datetime) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
