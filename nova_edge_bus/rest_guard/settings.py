# SPDX-License-Identifier: Apache-2.0
"""The times that the guard works with, in seconds."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    """How long the guard waits for what.

    :param connect_timeout: for a connection to an upstream, name lookup and TLS included
    :param probe_interval: silence after which an upstream that owes an answer is probed, and the
        first pause between probes while it is out of reach
    :param probe_interval_max: the longest pause between probes
    :param probe_timeout: for the answer to a probe, on top of the connection
    :param link_timeout: for the rest of an answer once the upstream is out of reach
    """

    connect_timeout: float = 2.0
    probe_interval: float = 3.0
    probe_interval_max: float = 30.0
    probe_timeout: float = 5.0
    link_timeout: float = 5.0
