# SPDX-License-Identifier: Apache-2.0
"""A process in the conductor's place: ``python -m tests.devstack.greeter FILE``."""

from __future__ import annotations

import signal
import socket
import sys

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import conffixture

TOPIC = "greeter"
READY = "serving"


class Greeter:
    """What is served."""

    target = oslo_messaging.Target(version="1.0")

    def greet(self, context: object, name: str) -> str:
        return f"hello {name}"


def make_transport(file: str, program: str) -> oslo_messaging.RPCTransport:
    """The transport that a program of nova makes from its configuration file."""
    conf = cfg.ConfigOpts()
    conf([], project="nova", prog=program, default_config_files=[file])
    # oslo.messaging registers some of its options with the global configuration only.
    conffixture.ConfFixture(conf).setUp()
    return oslo_messaging.get_rpc_transport(conf)


def main(file: str) -> None:
    """Serve until SIGTERM."""
    transport = make_transport(file, "nova-conductor")
    target = oslo_messaging.Target(topic=TOPIC, server=socket.gethostname())
    server = oslo_messaging.get_rpc_server(transport, target, [Greeter()], "threading")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server.start()
    print(READY, flush=True)
    signal.sigwait({signal.SIGTERM})
    server.stop()
    server.wait()
    transport.cleanup()


if __name__ == "__main__":
    main(sys.argv[1])
