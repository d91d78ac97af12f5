# SPDX-License-Identifier: Apache-2.0
"""Nova's remote object calls, taken apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from nova_edge_bus.snapshot import primitives


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A method of an object class, or of one object.

    ``target`` is the primitive of that object, None for a class method; ``manifest`` holds the
    highest versions of objects that the caller takes.
    """

    name: str
    method: str
    positional: Sequence[Any]
    named: Mapping[str, Any]
    target: Mapping[str, Any] | None = None
    manifest: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def bound(self, *parameters: str) -> dict[str, Any] | None:
        """The arguments by name; None when there are others than *parameters*."""
        if len(self.positional) > len(parameters):
            return None
        arguments = dict(zip(parameters, self.positional, strict=False))
        for name, value in self.named.items():
            if name not in parameters or name in arguments:
                return None
            arguments[name] = value
        return arguments

    @property
    def data(self) -> Mapping[str, Any]:
        """The fields of the object."""
        fields: Mapping[str, Any] = (self.target or {}).get(primitives.DATA) or {}
        return fields


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """What of the caller's context decides which rows it sees."""

    deleted: str = "no"
    is_admin: bool = True


def scope_of(context: Mapping[str, Any] | None) -> Scope:
    """Take the scope from a request context; without one it is an administrator's."""
    if context is None:
        return Scope()
    return Scope(str(context.get("read_deleted") or "no"), bool(context.get("is_admin", True)))


def parse(message: Mapping[str, Any]) -> Call | None:
    """Return the object call or ping of an RPC message, None when it is something else."""
    arguments = message.get("args") or {}
    positional = arguments.get("args") or ()
    named = arguments.get("kwargs") or {}
    method = str(arguments.get("objmethod", ""))
    if message.get("method") == "object_class_action_versions":
        manifest = arguments.get("object_versions") or {}
        name = str(arguments.get("objname", ""))
        return Call(name, method, positional, named, manifest=manifest)
    if (message.get("namespace"), message.get("method")) == ("baseapi", "ping"):
        return Call("BaseAPI", "ping", (), arguments)
    if message.get("method") == "object_action":
        target = arguments.get("objinst")
        if primitives.is_object(target):
            return Call(target[primitives.NAME], method, positional, named, target)
    return None
