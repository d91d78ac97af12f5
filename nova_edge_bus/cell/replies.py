# SPDX-License-Identifier: Apache-2.0
"""What a write that was applied before is answered with.

The reply that was given then may be lost with the process that gave it. What a caller needs back
from a write that may be shipped twice follows from the write itself.
"""

from collections.abc import Mapping
from typing import Any


def reply_to(message: Mapping[str, Any]) -> Any:
    """The reply to a write whose effect is there."""
    if message.get("method") != "object_action":
        return None
    arguments = message.get("args") or {}
    target = arguments.get("objinst") or {}
    updates = _updates(
        str(target.get("nova_object.name")), str(arguments.get("objmethod")), target
    )
    return [{**updates, "obj_what_changed": []}, None]


def _updates(name: str, action: str, target: Mapping[str, Any]) -> dict[str, Any]:
    data = target.get("nova_object.data") or {}
    if (name, action) == ("Instance", "destroy"):
        return {"deleted": True, "deleted_at": data.get("terminated_at")}
    if (name, action) == ("Instance", "drop_migration_context"):
        return {"migration_context": None}
    if (name, action) == ("PciDevice", "save") and data.get("status") == "removed":
        return {"status": "deleted"}
    return {}
