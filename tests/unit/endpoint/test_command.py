# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus endpoint`` as a process: what it prints, how it ends, how many it holds."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from nova_edge_bus.cli import main
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol.states import State
from tests.unit.endpoint import peers

COMMAND = [sys.executable, "-m", "nova_edge_bus.cli.main", "endpoint"]
SESSIONS = 2000


@contextlib.contextmanager
def process(*arguments: str, stderr: int = subprocess.PIPE) -> Iterator["subprocess.Popen[str]"]:
    """An endpoint process; whatever happens it is gone afterwards."""
    # Output to a pipe is buffered, unless the environment happens to say otherwise.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def bound_address(running: "subprocess.Popen[str]") -> str:
    assert running.stdout is not None
    said = re.fullmatch(r"listening on (tcp://127\.0\.0\.1:\d+)\n", running.stdout.readline())
    assert said is not None
    return said[1]


def refused(*arguments: str) -> tuple[int, str]:
    """The exit status and stderr of a command that ends by itself."""
    ended = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=peers.PATIENCE
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    made: zmq.Context[Any] = zmq.Context()
    made.set(zmq.MAX_SOCKETS, SESSIONS + 100)
    yield made
    made.destroy(linger=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_goodbye(context: zmq.Context[Any], number: signal.Signals) -> None:
    with process("--listen", peers.LOOPBACK) as running:
        peer = peers.Peer(context, bound_address(running))
        peers.run([peer], lambda: peer.session.state is State.UP)
        running.send_signal(number)
        peers.run([peer], lambda: peer.session.closed)
        assert peer.session.reason == "the other side said goodbye: endpoint stops"
        assert running.wait(peers.PATIENCE) == 0
        assert running.stderr is not None
        assert "stopping: sessions=1" in running.stderr.read()


def test_it_says_where_it_listens() -> None:
    with process("--listen", peers.LOOPBACK, "--listen", peers.LOOPBACK, "--json") as running:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
        assert list(said) == ["listening"]
        assert len(set(said["listening"])) == 2
        running.terminate()
        assert running.wait(peers.PATIENCE) == 0


def test_an_address_in_use_is_one_clear_line() -> None:
    with process("--listen", peers.LOOPBACK) as running:
        address = bound_address(running)
        status, text = refused("--listen", address)
    assert status == 1
    last = text.splitlines()[-1]
    assert last == (
        f"nova-edge-bus: cannot listen on {address}: the address is in use; "
        "see 'ss -ltnp' for by whom"
    )
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://0.0.0.0:0", "make it with 'nova-edge-bus keys new endpoint'"),
        ("tcp://192.0.2.1:0", "there is no key /nothing/endpoint.key"),
        ("nonsense", "expected tcp://ADDRESS:PORT"),
    ],
)
def test_what_it_will_not_listen_on(address: str, said: str) -> None:
    status, text = refused("--listen", address, "--curve-dir", "/nothing")
    assert (status, said in text, "Traceback" in text) == (1, True, False)


def test_leave_to_be_insecure() -> None:
    with process("--listen", "tcp://0.0.0.0:0", "--allow-insecure") as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("listening on tcp://0.0.0.0:")


@pytest.mark.parametrize(
    "arguments",
    [(), ("--listen",), ("--listen", peers.LOOPBACK, "--max-sessions", "0"), ("--unknown",)],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    status, text = refused(*arguments)
    assert (status, "usage: nova-edge-bus endpoint" in text) == (2, True)


def test_more_sessions_than_files_is_told_with_numbers() -> None:
    with process("--listen", peers.LOOPBACK, "--max-sessions", "2000000000") as running:
        bound_address(running)
        running.terminate()
        _, text = running.communicate(timeout=peers.PATIENCE)
    assert re.search(
        r"WARNING the limit of \d+ open files carries \d+ sessions, --max-sessions is 2000000000",
        text,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name.replace("_", "-") in said for name in main.COMMANDS)


def test_thousands_of_sessions(context: zmq.Context[Any]) -> None:
    """Every one of them comes up and is entered into the directory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    joined: list[peers.Peer] = []
    arguments = ("--listen", peers.LOOPBACK, "--max-sessions", str(SESSIONS))
    try:
        # It logs a line a session, more than an unread pipe holds.
        with process(*arguments, stderr=subprocess.DEVNULL) as running:
            address = bound_address(running)
            for number in range(SESSIONS):
                peer = peers.Peer(context, address, f"edge-{number}")
                peer.session.queue(messages.Listen(1, [f"v/e/compute/edge-{number}"], [], ""))
                joined.append(peer)
            peers.run(joined, lambda: all(peer.inbox for peer in joined))
            assert all(peer.inbox[0] == messages.Listening(1) for peer in joined)
            late = peers.Peer(context, address, "late")
            peers.run([late], lambda: late.session.closed)
            assert late.session.rejection == messages.Rejection.FULL
            late.close()
            running.terminate()
            running.communicate(timeout=peers.PATIENCE)
            assert running.returncode == 0
    finally:
        for peer in joined:
            peer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
