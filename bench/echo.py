# SPDX-License-Identifier: Apache-2.0
"""The two other processes of the raw echo: ``python -m bench.echo router|echo ADDRESS``.

A ROUTER that forwards by routing id and a DEALER that sends back what it gets: what any bus on
such sockets pays at least.
"""

import sys

import zmq

ECHO_ID = b"echo"


def _until_input_ends(socket: zmq.Socket[bytes]) -> zmq.Poller:
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    return poller


def _serve(socket: zmq.Socket[bytes], router: bool) -> None:
    poller = _until_input_ends(socket)
    while sys.stdin.fileno() not in dict(poller.poll()):
        try:
            while True:
                parts = socket.recv_multipart(zmq.DONTWAIT)
                if router:
                    sender, target, body = parts
                    parts = [target, sender, body]
                socket.send_multipart(parts)
        except zmq.Again:
            continue


def main() -> None:
    """Run one of the two until standard input ends."""
    role, address = sys.argv[1:]
    with zmq.Context() as context:
        if role == "router":
            with context.socket(zmq.ROUTER) as socket:
                port = socket.bind_to_random_port(address)
                print(f"{address}:{port}", flush=True)
                _serve(socket, router=True)
        else:
            with context.socket(zmq.DEALER) as socket:
                socket.routing_id = ECHO_ID
                socket.connect(address)
                print("ready", flush=True)
                _serve(socket, router=False)


if __name__ == "__main__":
    main()
