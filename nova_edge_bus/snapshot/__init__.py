# SPDX-License-Identifier: Apache-2.0
"""Nova-compute's last known central state, for its reads while the conductor is out of reach.

Pure Python over the JSON primitives that travel on the wire: no I/O, no clock, no thread. One
thread calls a :class:`~nova_edge_bus.snapshot.snapshot.Snapshot`.
"""
