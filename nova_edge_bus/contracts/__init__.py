# SPDX-License-Identifier: Apache-2.0
"""What each RPC of nova is worth: which contract it travels under, and in which group.

:mod:`~nova_edge_bus.contracts.objects` and :mod:`~nova_edge_bus.contracts.services` are the
published table for nova 34, :mod:`~nova_edge_bus.contracts.table` its defaults and its order.
"""

from nova_edge_bus.contracts.classification import acts_on_objects
from nova_edge_bus.contracts.classification import classify
from nova_edge_bus.contracts.terms import Contract
from nova_edge_bus.contracts.terms import Kind
from nova_edge_bus.contracts.terms import Row
from nova_edge_bus.contracts.terms import Terms

__all__ = ["Contract", "Kind", "Row", "Terms", "acts_on_objects", "classify"]
