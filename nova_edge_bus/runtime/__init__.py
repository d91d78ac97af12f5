# SPDX-License-Identifier: Apache-2.0
"""What runs in a process that uses the bus: one I/O thread, one journal writer, their queues."""
