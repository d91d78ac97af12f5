# SPDX-License-Identifier: Apache-2.0
"""The oslo.messaging driver ``edgebus://``; nothing else knows oslo.messaging's insides."""

from nova_edge_bus.driver.driver import EdgeBusDriver

__all__ = ["EdgeBusDriver"]
