# SPDX-License-Identifier: Apache-2.0
"""The benchmark of far computes runs through and counts every byte; no time passes a test."""

import json
import pathlib
import socket
import struct
import subprocess
import sys
import threading

import pytest

from bench import bodies
from bench import dissect
from bench import lossy
from nova_edge_bus.driver import body
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages
from tests.faults import packets

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHUNK = 7
ECHOED = 200_000
START_OF_A_NOVA = 240
"""Seconds that a nova may take to start, live a short life and end, on a busy machine."""


CARRIED = {
    "rabbit": ("call Instance.save", "reply Instance.save"),
    "edge": ("Deliver Instance.save", "Reply Instance.save"),
}


@pytest.mark.slow
@pytest.mark.nova
@pytest.mark.timeout(START_OF_A_NOVA)
@pytest.mark.parametrize(
    "bus", [pytest.param("rabbit", marks=[pytest.mark.rabbitmq, pytest.mark.soak]), "edge"]
)
def test_a_quick_run_measures_a_life_and_what_its_bytes_were(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, bus: str
) -> None:
    if bus == "rabbit":
        request.getfixturevalue("rabbitmq_url")
    json_file = tmp_path / "wan.json"
    command = [sys.executable, "-m", "bench", "wan", "--quick", "--buses", bus]
    command += ["--round-trips", "20", "--idle", "1", "--json", str(json_file)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=START_OF_A_NOVA - 10
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(json_file.read_text())

    life, idle = found["wan"]
    assert (life["bus"], life["what"], idle["what"]) == (bus, "short", "idle")
    assert (life["round_trip_ms"], life["loss_percent"]) == (20.0, 0.0)
    assert "unknown" not in life["parts"]
    assert life["compute_memory_bytes"] > 1 << 20
    counted = sum(each["up_bytes"] + each["down_bytes"] for each in life["parts"].values())
    carried = life["up_bytes"] + life["down_bytes"]
    # What is under way when a life begins or ends may count for one and not the other.
    assert abs(counted - carried) < carried / 10
    asked, answered = CARRIED[bus]
    assert life["parts"][asked]["up_bytes"] > 0
    assert life["parts"][answered]["down_bytes"] > 0


def test_what_cannot_be_a_link_is_refused() -> None:
    command = [sys.executable, "-m", "bench", "wan", "--loss", "much"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--loss" in done.stderr


def saved(number: int) -> messages.Deliver:
    message = {
        "method": "object_action",
        "args": {"objinst": bodies.instance(2000, 1), "objmethod": "save", "args": []},
    }
    return messages.Deliver(
        to=b"c" * 8,
        listener=1,
        reply_to=None,
        outbox=b"o" * 8,
        epoch=1,
        kind=int(messages.Kind.RECORD),
        number=number,
        floor=1,
        after=0,
        group="g",
        address="conductor",
        remaining=0,
        monitor=0,
        body=body.pack({}, message),
    )


def zmtp(content: bytes, flags: int = 0) -> bytes:
    if len(content) > 255:
        return struct.pack(">BQ", flags | 2, len(content)) + content
    return struct.pack(">BB", flags, len(content)) + content


def in_chunks(parts: dissect.Parts, stream: bytes, *, up: bool) -> None:
    for start in range(0, len(stream), CHUNK):
        parts.take("connection", up, stream[start : start + CHUNK])


def test_a_stream_of_the_edge_bus_is_taken_apart_to_the_last_byte() -> None:
    packer = codec.Codec()
    reply = messages.Reply(b"p" * 8, b"o" * 8, int(messages.Kind.RECORD), 5, 0, b"[]")
    up = b"\xff" + bytes(63) + zmtp(b"\x05READY", 4)
    up += zmtp(packer.encode([saved(5), messages.Ping(1)]))
    down = zmtp(packer.encode([reply])) + zmtp(packer.encode([messages.Pong(1)]))
    parts = dissect.Parts(dissect.Zmtp)
    in_chunks(parts, up, up=True)
    in_chunks(parts, down, up=False)
    assert parts.kinds.keys() == {
        "connection",
        "ZMTP command",
        "Deliver Instance.save",
        "Ping",
        "Reply Instance.save",
        "Pong",
    }
    assert sum(part.up_bytes for part in parts.kinds.values()) == pytest.approx(len(up))
    assert sum(part.down_bytes for part in parts.kinds.values()) == pytest.approx(len(down))
    assert parts.kinds["Deliver Instance.save"].messages == 1


def amqp(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def test_packets_that_refer_to_what_was_said_are_taken_apart() -> None:
    packer, said = codec.Codec(), history.of(1000)
    hello = messages.Hello(1, 1, b"p" * 8, b"", 0, b"", "h", "s", 9, 9, True, 1000)
    packets = [packer.encode([hello])]
    packets += [packer.encode([saved(number)], said=said) for number in range(3)]
    assert packets[-1][0] == compression.Encoding.ZSTD_HISTORY_1
    up = b"".join(zmtp(packet) for packet in packets)
    parts = dissect.Parts(dissect.Zmtp)
    in_chunks(parts, up, up=True)
    assert parts.kinds.keys() == {"Hello", "Deliver Instance.save"}
    assert parts.kinds["Deliver Instance.save"].messages == 3
    assert sum(part.up_bytes for part in parts.kinds.values()) == pytest.approx(len(up))


def published(method: tuple[int, int], message: dict[str, object]) -> bytes:
    content = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()
    header = struct.pack(">HHQH", 60, 0, len(content), 0)
    half = len(content) // 2
    return b"".join(
        (
            amqp(1, struct.pack(">HH", *method) + b"exchange"),
            amqp(2, header),
            amqp(3, content[:half]),
            amqp(3, content[half:]),
        )
    )


def test_a_stream_of_rabbitmq_is_taken_apart_to_the_last_byte() -> None:
    arguments = {"objinst": {"nova_object.name": "Service"}, "objmethod": "save"}
    call = {"method": "object_action", "args": arguments, "_msg_id": "m1"}
    up = b"AMQP\x00\x00\x09\x01" + published((60, 40), call) + amqp(8, b"", 0)
    up += amqp(1, struct.pack(">HHQ", 60, 80, 1))
    down = published((60, 60), {"result": None, "_msg_id": "m1"})
    parts = dissect.Parts(dissect.Amqp)
    in_chunks(parts, up, up=True)
    in_chunks(parts, down, up=False)
    assert parts.kinds.keys() == {
        "connection",
        "call Service.save",
        "heartbeat",
        "ack",
        "reply Service.save",
    }
    assert sum(part.up_bytes for part in parts.kinds.values()) == len(up)
    assert sum(part.down_bytes for part in parts.kinds.values()) == len(down)


@pytest.mark.parametrize("make", [dissect.Zmtp, dissect.Amqp])
def test_what_is_not_understood_counts_as_unknown(make: type[dissect.Zmtp | dissect.Amqp]) -> None:
    parts = dissect.Parts(make)
    rubbish = b"\x00\x02zz" * 2 if make is dissect.Zmtp else amqp(1, b"xx")[:-1] + b"!"
    parts.take("connection", True, rubbish)
    parts.take("connection", True, b"more")
    assert parts.kinds["unknown"].up_bytes == pytest.approx(len(rubbish) + 4)


def test_what_crosses_a_line_that_loses_packets_arrives_whole() -> None:
    def echo(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while chunk := connection.recv(1 << 16):
                connection.sendall(chunk)

    try:
        with lossy.line() as made, socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=echo, args=[server], daemon=True).start()
            made.faults = packets.Faults(loss=0.05)
            with lossy.Way(made, [server.getsockname()]) as way:
                sent, back = bytes(range(256)) * (ECHOED // 256), b""
                with socket.create_connection(way.addresses[0], timeout=60) as client:
                    writer = threading.Thread(target=client.sendall, args=[sent])
                    writer.start()
                    while len(back) < len(sent):
                        back += client.recv(1 << 16)
                    writer.join()
            assert back == sent
            assert made.lost > 0
    except lossy.Unavailable as error:
        pytest.skip(str(error))
