# SPDX-License-Identifier: Apache-2.0
"""Replies to our own writes while the centre is out of reach.

The caller holds the new values already, so most writes need nothing back; what the centre would
refuse, by what is known of the instance, is refused here in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nova_edge_bus.snapshot import calls
from nova_edge_bus.snapshot import effects
from nova_edge_bus.snapshot.knowledge import Knowledge
from nova_edge_bus.snapshot.outcomes import Answer
from nova_edge_bus.snapshot.outcomes import Failure

_EXCEPTIONS = "nova.exception"
_DELETING = "deleting"
_NULL_RESULTS = {
    ("InstanceAction", "action_start"): ("instance_uuid", "action_name", "want_result"),
    ("InstanceAction", "action_finish"): ("instance_uuid", "want_result"),
    ("InstanceActionEvent", "event_start"): (
        "instance_uuid",
        "event_name",
        "want_result",
        "host",
    ),
    ("InstanceActionEvent", "event_finish"): (
        "instance_uuid",
        "event_name",
        "exc_val",
        "exc_tb",
        "want_result",
    ),
    ("InstanceActionEvent", "event_finish_with_failure"): (
        "instance_uuid",
        "event_name",
        "exc_val",
        "exc_tb",
        "want_result",
    ),
}
"""Class methods that return nothing when told so, with their parameters."""
_DELETIONS = frozenset(
    {
        ("VirtualInterface", "delete_by_instance_uuid"),
        ("ConsoleAuthToken", "clean_console_auths_for_instance"),
    }
)
"""Class methods that return nothing."""
_SIMPLE = frozenset(
    {
        ("InstanceFault", "create"),
        ("Migration", "save"),
        ("BlockDeviceMapping", "save"),
        ("BlockDeviceMapping", "destroy"),
        ("ShareMapping", "save"),
        ("ShareMapping", "delete"),
        ("VirtualInterface", "destroy"),
        ("InstanceInfoCache", "save"),
        ("Service", "save"),
        ("ComputeNode", "save"),
    }
)
"""Object methods of which the caller needs nothing back."""


def answer_write(
    known: Knowledge, call: calls.Call, scope: calls.Scope, before: int
) -> Answer | Failure | None:
    """Return what a write comes to; None when only the centre can tell.

    :param before: our writes with this seq or a higher one do not count
    """
    if call.target is None:
        return _class_method(call)
    if call.name == "Instance":
        return _instance(known, call, scope, before)
    if (call.name, call.method) == ("PciDevice", "save"):
        removed = call.data.get("status") == "removed"
        return _done(status="deleted") if removed else _pci_device(call)
    return _done() if (call.name, call.method) in _SIMPLE else None


def _done(**updates: Any) -> Answer:
    return Answer([{**updates, "obj_what_changed": []}, None])


def _class_method(call: calls.Call) -> Answer | None:
    if (call.name, call.method) in _DELETIONS:
        return Answer(None)
    parameters = _NULL_RESULTS.get((call.name, call.method))
    asked = call.bound(*parameters) if parameters else None
    if asked is None or asked.get("want_result", True):
        return None
    return Answer(None)


def _pci_device(call: calls.Call) -> Answer | None:
    """A device that the centre does not have yet gets its id there."""
    return _done() if call.data.get("id") is not None else None


def _instance(
    known: Knowledge, call: calls.Call, scope: calls.Scope, before: int
) -> Answer | Failure | None:
    uuid = str(call.data.get("uuid", ""))
    entity = known.entities.get("Instance", uuid)
    view = None if entity is None else entity.view_before(before)
    if view is not None and view.get("deleted") and scope.deleted == "no":
        return Failure(_EXCEPTIONS, "InstanceNotFound", {"instance_id": uuid})
    if call.method == "save":
        return _saved(view, call, uuid)
    if call.method == "destroy":
        # Nova writes the time of the end just before; it is not ours to invent one.
        return _done(deleted=True, deleted_at=call.data.get("terminated_at"))
    if call.method == "drop_migration_context":
        return _done(migration_context=None)
    return None


def _saved(view: Mapping[str, Any] | None, call: calls.Call, uuid: str) -> Answer | Failure | None:
    asked = call.bound("expected_vm_state", "expected_task_state", "admin_state_reset")
    if asked is None:
        return None
    expected = {
        field: _as_list(asked[argument])
        for field, argument in (
            ("task_state", "expected_task_state"),
            ("vm_state", "expected_vm_state"),
        )
        if asked.get(argument) is not None
    }
    if not expected or not effects.saves_columns(call):
        return _done()
    if view is None or not expected.keys() <= view.keys():
        return None
    return _conflict(view, expected, uuid) or _done()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _conflict(
    view: Mapping[str, Any], expected: dict[str, list[Any]], uuid: str
) -> Failure | None:
    wrong = {field: values for field, values in expected.items() if view[field] not in values}
    if not wrong:
        return None
    actual = {field: view[field] for field in wrong}
    if "task_state" not in actual:
        name = "InstanceUpdateConflict"
    elif actual["task_state"] == _DELETING:
        name = "UnexpectedDeletingTaskStateError"
    else:
        name = "UnexpectedTaskStateError"
    return Failure(_EXCEPTIONS, name, {"instance_uuid": uuid, "expected": wrong, "actual": actual})
