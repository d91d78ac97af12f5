# SPDX-License-Identifier: Apache-2.0
"""What nova's own code says that it sends: its remotable methods, and its RPC clients' calls."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from nova import baserpc
from nova import objects
from nova.compute import rpcapi as compute
from nova.conductor import rpcapi as conductor
from nova.objects import base
from nova.scheduler import rpcapi as scheduler

from nova_edge_bus.contracts.terms import Kind

CLIENTS = (
    baserpc.BaseAPI,
    compute.ComputeAPI,
    conductor.ComputeTaskAPI,
    conductor.ConductorAPI,
    scheduler.SchedulerAPI,
)
CARRIERS = {"object_action", "object_class_action_versions"}
"""Calls that carry the methods of objects; their rows are those methods'."""


@functools.cache
def object_classes() -> dict[str, type]:
    """The newest version of every object that nova registers."""
    objects.register_all()
    known = base.NovaObjectRegistry.obj_classes()
    # Whoever in this process has looked for an object that nova does not have left an empty list.
    return {name: found[0] for name, found in known.items() if found}


def is_remotable(cls: type, action: str) -> bool:
    """Whether an object's method goes over the wire; serialize_args hides its value, not that."""
    raw = inspect.getattr_static(cls, action)
    return hasattr(raw.__func__ if isinstance(raw, classmethod) else raw, "remotable")


def is_class_action(cls: type, action: str) -> bool:
    """Whether it is called with the name of the class, and not with an object."""
    return isinstance(inspect.getattr_static(cls, action), classmethod)


@functools.cache
def object_methods() -> set[tuple[str, str]]:
    """Every remotable method of every object."""
    return {
        (name, action)
        for name, cls in object_classes().items()
        for action in dir(cls)
        if is_remotable(cls, action)
    }


@functools.cache
def service_methods() -> dict[tuple[str, Kind], set[str]]:
    """What the RPC clients send, as ``CLASS.METHOD`` and kind, and with which arguments."""
    found: dict[tuple[str, Kind], set[str]] = {}
    for client in CLIENTS:
        for function in functions_of(client):
            for method, kind in messages_of(function):
                if method not in CARRIERS:
                    named = {argument.arg for argument in function.args.args}
                    found.setdefault((f"{client.__name__}.{method}", kind), set()).update(named)
    return found


def functions_of(client: type) -> Iterator[ast.FunctionDef]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(client))).body
    assert isinstance(tree, ast.ClassDef)
    return (each for each in tree.body if isinstance(each, ast.FunctionDef))


def messages_of(function: ast.FunctionDef) -> Iterator[tuple[str, Kind]]:
    """The methods that a function of a client sends.

    The client's ``call`` and ``cast`` are either called with the context and the method's name, or
    put into a variable that is called so.
    """
    nodes = list(ast.walk(function))
    is_fanout = any(isinstance(node, ast.keyword) and node.arg == "fanout" for node in nodes)
    variables: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            variables.setdefault(node.targets[0].id, []).append(node.value)
    sent = 0
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        called: list[ast.expr] = [node.func]
        if isinstance(node.func, ast.Name):
            called = variables.get(node.func.id, [])
        ways = {way for expression in called for way in ways_of(expression)}
        for way in ways:
            sent += 1
            kind = Kind.FANOUT if is_fanout and way == "cast" else Kind(way)
            yield method_name(node), kind
    named = {node.attr for node in nodes if isinstance(node, ast.Attribute)} & {"call", "cast"}
    assert sent >= len(named), f"{function.name} sends in a way that is not understood here"


def ways_of(expression: ast.expr) -> set[str]:
    """Which of a client's two ways an expression that is called can be."""
    branches = (
        [expression.body, expression.orelse] if isinstance(expression, ast.IfExp) else [expression]
    )
    return {
        each.attr
        for each in branches
        if isinstance(each, ast.Attribute) and each.attr in ("call", "cast")
    }


def method_name(call: ast.Call) -> str:
    value: Any = call.args[1]
    assert isinstance(value, ast.Constant), ast.unparse(call)
    return str(value.value)
