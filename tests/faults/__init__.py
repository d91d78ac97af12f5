# SPDX-License-Identifier: Apache-2.0
"""What the bus promises while its processes are killed and its links fall silent."""

COMMANDS = "commands"
"""The topic of casts; its receivers dispatch one at a time, so in the order of hand-out."""
CONDUCTOR = "conductor"
"""The topic of calls."""
