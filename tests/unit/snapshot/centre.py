# SPDX-License-Identifier: Apache-2.0
"""A real centre in this process: nova's conductor code on a scratch nova database.

Nova's objects reach it as they do over the bus, in JSON, through the indirection API that
nova-compute installs; a *way* decides who answers.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
import shutil
import types
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova import config  # noqa: F401  (registers the options)
from nova import context as nova_context
from nova import objects
from nova import rpc
from nova.conductor import manager
from nova.db.main import api as db
from nova.db.main import models
from nova.objects import base
from oslo_config import cfg
from oslo_serialization import jsonutils

Json = dict[str, Any]
Way = Callable[[Json, Json], Any]
"""Answers a message, given with its context, with a JSON reply; or raises."""


class Centre:
    """One nova cell database and the conductor's two object methods upon it."""

    object_action = manager.ConductorManager.object_action
    object_class_action_versions = manager.ConductorManager.object_class_action_versions

    def __init__(self, path: pathlib.Path, url: str | None = None) -> None:
        """Use the database at *url*, or an SQLite file."""
        self.path = path
        self.url = url or f"sqlite:///{path}"
        self._connection = db.create_context_manager(connection=self.url)
        self._serializer = base.NovaObjectSerializer()

    def create(self) -> None:
        """Make the tables."""
        models.BASE.metadata.create_all(self._connection.writer.get_engine())

    def close(self) -> None:
        self._connection.writer.get_engine().dispose()

    def copy(self, path: pathlib.Path) -> Centre:
        """Return a centre on a copy of this one's database."""
        shutil.copyfile(self.path, path)
        return Centre(path)

    def context(self, **options: Any) -> nova_context.RequestContext:
        """A context for direct use of nova's objects on this database."""
        context = nova_context.RequestContext("user", "project", is_admin=True, **options)
        context.db_connection = self._connection
        return context

    def _object_dispatch(self, target: Any, method: str, args: Any, kwargs: Any) -> Any:
        return getattr(target, method)(*args, **kwargs)

    def __call__(self, context: Json, message: Json) -> Any:
        """Do what the conductor does with a message."""
        ctxt = self.context(
            read_deleted=context["read_deleted"], request_id=context.get("request_id")
        )
        arguments = self._serializer.deserialize_entity(ctxt, jsonutils.loads(dumped(message)))
        with direct():
            result = getattr(self, message["method"])(ctxt, **arguments["args"])
            return jsonutils.loads(dumped(self._serializer.serialize_entity(ctxt, result)))


class Bus:
    """The indirection API: turns calls into messages and hands them to a way."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._serializer = base.NovaObjectSerializer()

    def object_class_action_versions(
        self,
        context: Any,
        objname: str,
        objmethod: str,
        object_versions: Any,
        args: Any,
        kwargs: Any,
    ) -> Any:
        return self._call(
            context,
            "object_class_action_versions",
            objname=objname,
            objmethod=objmethod,
            object_versions=object_versions,
            args=args,
            kwargs=kwargs,
        )

    def object_action(
        self, context: Any, objinst: Any, objmethod: str, args: Any, kwargs: Any
    ) -> Any:
        return self._call(
            context,
            "object_action",
            objinst=objinst,
            objmethod=objmethod,
            args=args,
            kwargs=kwargs,
        )

    def _call(self, context: Any, method: str, **arguments: Any) -> Any:
        entity = self._serializer.serialize_entity(context, arguments)
        message = jsonutils.loads(dumped({"method": method, "args": entity, "version": "3.0"}))
        reply = self._way(context.to_dict(), message)
        return self._serializer.deserialize_entity(context, jsonutils.loads(dumped(reply)))


def dumped(value: Any) -> str:
    return jsonutils.dumps(value)


@contextlib.contextmanager
def direct() -> Iterator[None]:
    """Let nova's objects use their database themselves."""
    before = base.NovaObject.indirection_api
    base.NovaObject.indirection_api = None
    try:
        yield
    finally:
        base.NovaObject.indirection_api = before


@contextlib.contextmanager
def over(way: Way) -> Iterator[None]:
    """Let nova's objects send messages, as in nova-compute."""
    before = base.NovaObject.indirection_api
    base.NovaObject.indirection_api = Bus(way)
    try:
        yield
    finally:
        base.NovaObject.indirection_api = before


@functools.cache
def prepare() -> None:
    """Set nova up in this process, once; without notifications."""
    objects.register_all()
    rpc.NOTIFIER = types.SimpleNamespace(is_enabled=lambda: False)
    cfg.CONF([], project="nova", default_config_files=[])
    # Nova looks at the scheme alone, to tell how regular expressions are written.
    cfg.CONF.set_override("connection", "sqlite://", "database")
    cfg.CONF.set_override("sqlite_synchronous", False, "database")
