# SPDX-License-Identifier: Apache-2.0
"""The bytes of version 1 mean for ever what they meant when it was released."""

import hashlib
import json
import pathlib
from typing import Any

import pytest

from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import history
from nova_edge_bus.protocol import messages

ROOT = pathlib.Path(__file__).resolve().parents[3]
# The files are never edited: what they say has been settled. A new version gets its own, and so
# does what a minor change adds to a version.
FILES = {
    "v1": "e68c51a947c4ff2d5b7ec855b6eb2da2b6b180c06f6565410f97bf0701a7e08c",
    "v1-backlog": "81874848285bd64349548bf43cc94c46125ebdf7339bebd1c5641738c67f8fc6",
    "v1-history": "aee1f982d90161cbeb9fad05c9427d58e6243a4040d5b531e3fe8b44853a8906",
    "v1-identity": "52da932e6de48d506c7a63ba1959f86b9349d1dbfe10406c2b7e202aeba0daa8",
    "v1-report": "b2ae595cc203082879b71db078b40be276196bbef9e864bf6a29fb94cc84a987",
    "v1-unused": "0be9e4535ac81925579c06aedf8370cae293853b7f06d53af748f92c31c203b3",
}
GOLDEN = {
    name: json.loads((ROOT / "tests" / "golden" / f"{name}.json").read_text()) for name in FILES
}
VECTORS = [vector for golden in GOLDEN.values() for vector in golden["vectors"]]


def field(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    if isinstance(value, list):
        return [field(one) for one in value]
    return value


def message(written: list[Any]) -> messages.Message:
    name, *fields = written
    values = [field(value) for value in fields]
    if name == "Routes":
        values[1] = [messages.Consumer(*consumer) for consumer in values[1]]
    made: messages.Message = getattr(messages, name)(*values)
    return made


@pytest.mark.parametrize("name", FILES)
def test_the_vectors_are_those_of_the_release(name: str) -> None:
    file = ROOT / "tests" / "golden" / f"{name}.json"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == FILES[name]
    assert GOLDEN[name]["version"] == 1


def test_the_dictionary_is_that_of_the_release() -> None:
    dictionary = ROOT / "nova_edge_bus" / "protocol" / "v1.zdict"
    assert hashlib.sha256(dictionary.read_bytes()).hexdigest() == GOLDEN["v1"]["dictionary_sha256"]


def test_every_message_has_a_vector() -> None:
    written = {one[0] for vector in VECTORS for one in vector["messages"]}
    assert {cls.__name__ for cls in messages.CODES} <= written


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    packet = bytes.fromhex(vector["packet"])
    expected = [message(written) for written in vector["messages"]]
    decoded = codec.Codec().decode(packet)
    assert decoded == expected
    assert [type(one) for one in decoded] == [type(one) for one in expected]
    if vector["canonical"]:
        assert codec.Codec(compress=False).encode(expected) == packet


def test_packets_that_refer_to_those_before_them() -> None:
    golden = GOLDEN["v1-history"]
    heard = history.History(golden["kept"])
    encodings = []
    for said in golden["conversation"]:
        packet = bytes.fromhex(said["packet"])
        encodings.append(packet[0])
        expected = [message(written) for written in said["messages"]]
        assert codec.Codec().decode(packet, heard) == expected, said["name"]
    assert set(encodings) == {0, 2, 3}
