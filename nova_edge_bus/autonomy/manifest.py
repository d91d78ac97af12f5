# SPDX-License-Identifier: Apache-2.0
"""Which versions of versioned objects this process takes."""

import sys


def versions_of(name: str) -> dict[str, str] | None:
    """The version of the object *name* and of those within it; None when it is not known here.

    The registry is that of the application, if it has one: nothing is imported for it.
    """
    registry = sys.modules.get("oslo_versionedobjects.base")
    if registry is None:
        return None
    try:
        found: dict[str, str] = registry.obj_tree_get_versions(name)
    except Exception:
        # The exception's class is oslo.versionedobjects' own, and it may be another version's.
        return None
    return found
