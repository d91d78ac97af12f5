# SPDX-License-Identifier: Apache-2.0
"""Where the processes of the benchmark meet, and under which names."""

import dataclasses
import pathlib

CONDUCTOR_HOST = "bench-0"
"""The server name of the conductor; calls go to its topic, not to it."""
COMPUTE_HOST = "edge-000-compute-0"
"""The server name that casts are sent to, as the API sends them to one compute."""
SCHEDULER_HOSTS = ("scheduler-0", "scheduler-1", "scheduler-2")
"""The server names of those whom a fanout reaches."""
LINE_DESCRIPTORS = 12
"""Of a simulated link: its socket, its connection, the two ends of its monitor; and twice as many
that ZeroMQ closes in its own time, which a busy machine does not give it soon."""
OTHER_DESCRIPTORS = 256
"""Of a process of simulated links beside those."""
NO_KEYS = pathlib.Path("/nonexistent/edge-bus-keys")
"""Where keys are looked for when none are meant, and not where this machine has its own."""


@dataclasses.dataclass(frozen=True)
class Place:
    """What a process connects to: nova's own topics, or fresh names on a shared broker.

    :param host: as whom it does, where the machine's own name is not meant
    """

    url: str
    exchange: str
    conductor_topic: str
    compute_topic: str
    notification_topic: str
    host: str = ""
    scheduler_topic: str = "scheduler"
