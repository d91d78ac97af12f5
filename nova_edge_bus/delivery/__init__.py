# SPDX-License-Identifier: Apache-2.0
"""End-to-end delivery without any I/O: who gets a message, in which order, and how often.

:mod:`~nova_edge_bus.delivery.directory` knows the consumers, :mod:`~nova_edge_bus.delivery.sender`
ships what this side owns until it is settled, :mod:`~nova_edge_bus.delivery.receiver` takes what
others ship, once and in order.
"""
