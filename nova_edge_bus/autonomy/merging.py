# SPDX-License-Identifier: Apache-2.0
"""Two saves of one object as one: the later one, with what only the earlier one changed.

Applying the merged save leaves the centre's row as applying the two in turn would. That holds
for what is known by a key of its own and whose save is neither conditional nor adds anything up.
"""

import copy
from typing import Any

from nova_edge_bus.autonomy import bodies

_DATA = "nova_object.data"
_CHANGES = "nova_object.changes"
_KEYS = {
    "Service": ("id",),
    "ComputeNode": ("id",),
    "PciDevice": ("compute_node_id", "address"),
    "InstanceInfoCache": ("instance_uuid",),
}
"""The objects whose saves may be merged, and the fields that tell them apart."""
_GROWING = frozenset({"report_count"})
"""Fields that only ever rise: the centre takes a lower value for an older message."""


def key(request: bodies.Request) -> tuple[str, ...] | None:
    """What two saves that can be merged have in common; None for anything else."""
    arguments = request.message.get("args") or {}
    target = arguments.get("objinst")
    plain = not arguments.get("args") and not arguments.get("kwargs")
    if arguments.get("objmethod") != "save" or not isinstance(target, dict) or not plain:
        return None
    name = str(target.get("nova_object.name"))
    fields = _KEYS.get(name)
    data = target.get(_DATA) or {}
    if fields is None or any(data.get(field) is None for field in fields):
        return None
    version = str(target.get("nova_object.version"))
    return (name, version, *(str(data[field]) for field in fields))


def merged(earlier: bodies.Request, later: bodies.Request) -> bodies.Request:
    """The one save that stands for both; their keys are the same.

    What was known before it is what was known before the earlier one.
    """
    message = copy.deepcopy(later.message)
    target = message["args"]["objinst"]
    before = earlier.message["args"]["objinst"]
    changed = set(target.get(_CHANGES) or ())
    for field in before.get(_CHANGES) or ():
        if field not in changed:
            target[_DATA][field] = before[_DATA].get(field)
    for field in _GROWING & target[_DATA].keys() & before[_DATA].keys():
        target[_DATA][field] = _greater(target[_DATA][field], before[_DATA][field])
    target[_CHANGES] = sorted(changed | set(before.get(_CHANGES) or ()))
    return bodies.Request(later.context, message, earlier.note)


def _greater(one: Any, other: Any) -> Any:
    return max(one, other) if isinstance(one, int) and isinstance(other, int) else one
