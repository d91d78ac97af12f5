# SPDX-License-Identifier: Apache-2.0
"""Packets survive the round trip, and nothing else gets in."""

import json
import pathlib
from typing import Any

import hypothesis
import msgpack
import pytest
import zstandard
from hypothesis import strategies as st

from nova_edge_bus import errors
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import shapes
from tests.unit.protocol import strategies

CODEC = codec.Codec()
PLAIN = codec.Codec(compress=False)
DICTIONARY = pathlib.Path(codec.__file__).with_name("v1.zdict").read_bytes()

DELIVER = messages.Deliver(
    b"p" * 8, 1, None, None, 3, messages.Kind.RECORD, 7, 5, 6, "g", "v/e/t", 0, 0, b"body"
)

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=40,
)


def packet(items: Any) -> bytes:
    return b"\x00" + msgpack.packb(items)


def decode_or_refuse(data: bytes) -> None:
    """Decode *data*; whatever comes out is valid enough to be sent again."""
    try:
        batch = CODEC.decode(data)
    except errors.ProtocolError:
        return
    assert CODEC.decode(CODEC.encode(batch)) == batch


@hypothesis.given(strategies.BATCHES, st.booleans())
def test_round_trip(batch: list[messages.Message], compress: bool) -> None:
    encoded = CODEC.encode(batch, compress=compress)
    decoded = CODEC.decode(encoded)
    assert decoded == batch
    assert [type(message) for message in decoded] == [type(message) for message in batch]


@pytest.mark.parametrize("cls", messages.CODES, ids=lambda cls: cls.__name__)
@hypothesis.settings(max_examples=20)
@hypothesis.given(st.data())
def test_round_trip_of_every_class(cls: type[messages.Message], data: st.DataObject) -> None:
    message = data.draw(strategies.of_class(cls))
    assert CODEC.decode(memoryview(CODEC.encode([message]))) == [message]


@hypothesis.given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_one_error(data: bytes) -> None:
    decode_or_refuse(data)


@hypothesis.given(st.sampled_from([0, 1, 2]), st.binary(max_size=200), st.booleans())
def test_any_payload_parses_or_raises_one_error(
    encoding: int, payload: bytes, compressed: bool
) -> None:
    if compressed:
        payload = zstandard.ZstdCompressor().compress(payload)
    decode_or_refuse(bytes([encoding]) + payload)


@hypothesis.given(st.lists(st.tuples(st.sampled_from(list(messages.CLASSES)), JUNK)))
def test_fields_of_any_type_parse_or_raise_one_error(items: list[tuple[int, Any]]) -> None:
    wire = [[code, *(junk if isinstance(junk, list) else [junk])] for code, junk in items]
    decode_or_refuse(packet(wire))


@hypothesis.given(strategies.BATCHES, st.data())
def test_damaged_packets_parse_or_raise_one_error(
    batch: list[messages.Message], data: st.DataObject
) -> None:
    encoded = bytearray(CODEC.encode(batch))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                encoded[at] = data.draw(st.integers(0, 255))
            case "cut":
                del encoded[at + 1 :]
            case "insert":
                encoded[at:at] = data.draw(st.binary(max_size=9))
    decode_or_refuse(bytes(encoded))


def test_unknown_codes_are_skipped() -> None:
    assert CODEC.decode(packet([[99, 1, 2], [6, 5], [255]])) == [messages.Pong(5)]


@pytest.mark.parametrize(
    ("said", "silent"),
    [
        (messages.Listen(1, ["a"], [], "", True), messages.Listen(1, ["a"], [], "")),
        (messages.Welcome(1, b"e", 1, 1, 1, 5), messages.Welcome(1, b"e", 1, 1, 1)),
        (
            messages.Routes("a", [messages.Consumer(b"p", 1, b"i", "", True)]),
            messages.Routes("a", [messages.Consumer(b"p", 1, b"i", "")]),
        ),
    ],
)
def test_an_appended_field_is_written_only_where_it_says_something(
    said: messages.Message, silent: messages.Message
) -> None:
    assert CODEC.decode(CODEC.encode([said, silent])) == [said, silent]
    assert len(CODEC.encode([silent], compress=False)) < len(CODEC.encode([said], compress=False))


def test_further_fields_are_ignored() -> None:
    assert CODEC.decode(packet([[6, 5, "new", [1]]])) == [messages.Pong(5)]


@pytest.mark.parametrize("position", range(len(DELIVER)))
def test_a_field_of_another_type_is_refused(position: int) -> None:
    for wrong in (1.5, True, [], [[]]):
        fields: list[Any] = list(DELIVER)
        fields[position] = wrong
        with pytest.raises(errors.ProtocolError, match="Deliver"):
            CODEC.decode(packet([[32, *fields]]))


@pytest.mark.parametrize("position", range(len(DELIVER)))
def test_nil_stands_only_where_it_may(position: int) -> None:
    fields: list[Any] = list(DELIVER)
    fields[position] = None
    if DELIVER._fields[position] in ("reply_to", "outbox"):
        assert CODEC.decode(packet([[32, *fields]])) == [messages.Deliver(*fields)]
    else:
        with pytest.raises(errors.ProtocolError):
            CODEC.decode(packet([[32, *fields]]))


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([[6]], id="a field is missing"),
        pytest.param([[6, -1]], id="negative"),
        pytest.param([[6, 2**63]], id="more than a database holds"),
        pytest.param([[]], id="no code"),
        pytest.param([["6", 1]], id="code is a text"),
        pytest.param([[True, 1]], id="code is a bool"),
        pytest.param([6, 1], id="message is not an array"),
        pytest.param({}, id="map"),
        pytest.param(7, id="not an array"),
        pytest.param([[19, ["a", 1]]], id="texts hold a number"),
        pytest.param([[35, b"", b"", 1, ["1"], False]], id="numbers hold a text"),
        pytest.param([[35, b"", b"", 1, [-1], False]], id="numbers hold a negative"),
        pytest.param([[35, b"", b"", 1, [2**63], False]], id="numbers hold too large a one"),
        pytest.param([[33, b"", b"", [[2, 1]]]], id="range ends before it begins"),
        pytest.param([[33, b"", b"", [[-1, 1]]]], id="range begins at a negative"),
        pytest.param([[33, b"", b"", [[1, 2**63]]]], id="range ends at too large a number"),
        pytest.param([[33, b"", b"", [["1", "2"]]]], id="range of texts"),
        pytest.param([[33, b"", b"", [[1]]]], id="range without an end"),
        pytest.param([[20, "a", [[b"", 1, b""]]]], id="consumer without a pool"),
        pytest.param([[20, "a", ["x"]]], id="consumer is a text"),
        pytest.param([[33, b"x" * 33, b"", []]], id="long id"),
        pytest.param([[19, ["a"] * (shapes.MAX_LIST + 1)]], id="long list"),
        pytest.param([[19, ["a" * (shapes.MAX_TEXT_BYTES + 1)]]], id="long text"),
        pytest.param([[6, 1]] * (shapes.MAX_LIST + 1), id="many messages"),
        pytest.param([[99, *[[[]] * 4000] * 5]], id="many lists"),
        pytest.param([msgpack.ExtType(4, b"x")], id="extension"),
        pytest.param([[6, msgpack.Timestamp(1)]], id="timestamp"),
    ],
)
def test_refused(items: Any) -> None:
    with pytest.raises(errors.ProtocolError):
        CODEC.decode(packet(items))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00", id="no payload"),
        pytest.param(b"\x00" + b"\x91" * 2000 + b"\x00", id="deep"),
        pytest.param(b"\x00\x90\x90", id="trailing bytes"),
        pytest.param(b"\x00\x91\x92\x06", id="cut off"),
        pytest.param(b"\x00\x91\x92\x13\x91\xa1\xff", id="not UTF-8"),
        pytest.param(b"\x04\x90", id="unknown encoding"),
        pytest.param(b"\x00" + b"\x90" * compression.MAX_PACKET, id="longer than a packet"),
        pytest.param(b"\x01" + b"(\xb5/\xfd", id="half a zstd header"),
    ],
)
def test_refused_bytes(data: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        CODEC.decode(data)


def skipped(*sizes: int) -> bytes:
    """The payload of a message that would be skipped, with such byte strings in it."""
    packed: bytes = msgpack.packb([[99, *(bytes(size) for size in sizes)]])
    return packed


def compressed(payload: bytes, *, size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=size).compress(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(compressed(skipped(9 << 20, 9 << 20)), id="unpacks beyond a packet"),
        pytest.param(compressed(skipped(8 << 20)), id="expands too far"),
        pytest.param(compressed(b"\x90", size=False), id="does not say its size"),
        pytest.param(compressed(b"\x90") + b"\x90", id="bytes after the frame"),
        pytest.param(compressed(b"\x90") * 2, id="two frames"),
        pytest.param(compressed(b"\x90" * 999)[:-1], id="cut off"),
    ],
)
@pytest.mark.parametrize("encoding", [b"\x01", b"\x02"])
def test_compressed_payload_is_bounded(encoding: bytes, payload: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        CODEC.decode(encoding + payload)


def test_the_dictionary_pays_for_a_single_heartbeat() -> None:
    data = {
        "id": 7, "uuid": "77ee1b1f-52ab-4d5e-a1f2-9dd5c5a5f0d3", "host": "edge-7",
        "binary": "nova-compute", "topic": "compute", "report_count": 2881, "disabled": False,
        "disabled_reason": None, "last_seen_up": "2026-03-01T12:00:00Z", "forced_down": False,
        "version": 70, "created_at": "2026-02-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z",
        "deleted_at": None, "deleted": False,
    }  # fmt: skip
    saved = {
        "nova_object.name": "Service", "nova_object.namespace": "nova",
        "nova_object.version": "1.22", "nova_object.data": data,
        "nova_object.changes": ["report_count"],
    }  # fmt: skip
    args = {"objinst": saved, "objmethod": "save", "args": [], "kwargs": {}}
    body = json.dumps([{}, {"method": "object_action", "args": args, "version": "3.0"}])
    message = DELIVER._replace(body=body.encode())
    packed = CODEC.encode([message])
    assert packed[0] == compression.Encoding.ZSTD_DICTIONARY_1
    assert len(packed) < len(compressed(PLAIN.encode([message]))) / 2


def test_a_short_packet_is_compressed_harder_than_a_long_one() -> None:
    text = " ".join(f"{number % 97} {number**2 % 89}" for number in range(20_000)).encode()
    for length, is_harder in ((4096, True), (64 * 1024, False)):
        message = DELIVER._replace(body=text[:length])
        fast = zstandard.ZstdCompressor(
            level=3, dict_data=zstandard.ZstdCompressionDict(DICTIONARY), write_dict_id=False
        )
        packed = len(fast.compress(PLAIN.encode([message])[1:])) + 1
        assert (len(CODEC.encode([message])) < packed * 0.97) is is_harder


def test_packets_are_compressed_when_that_pays() -> None:
    small = DELIVER._replace(body=b"ab" * 20)
    large = DELIVER._replace(body=b'{"nova_object.name": "Instance"}' * 40)
    assert CODEC.encode([small])[0] == 0
    assert CODEC.encode([large])[0] != 0
    assert len(CODEC.encode([large])) < len(PLAIN.encode([large])) / 4
    assert CODEC.encode([large], compress=False)[0] == 0
    assert PLAIN.encode([large])[0] == 0


def test_a_codec_reads_its_own_most_compressible_packet() -> None:
    message = DELIVER._replace(body=bytes(shapes.MAX_BODY))
    assert CODEC.decode(CODEC.encode([message])) == [message]


def test_a_packet_beyond_the_limit_is_not_made() -> None:
    message = DELIVER._replace(body=bytes(shapes.MAX_BODY))
    with pytest.raises(errors.MessageTooLarge, match="2 messages"):
        CODEC.encode([message, message])


def test_text_that_is_not_unicode_does_not_stop_a_packet() -> None:
    refusal = messages.Refuse(b"p" * 8, b"", 1, [1], 1, "lone \udc80 surrogate")
    assert CODEC.decode(CODEC.encode([refusal])) == [refusal._replace(text="lone ? surrogate")]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(DELIVER._replace(body=bytes(shapes.MAX_BODY + 1)), id="body"),
        pytest.param(DELIVER._replace(group="g" * (shapes.MAX_TEXT + 1)), id="text"),
        pytest.param(DELIVER._replace(to=bytes(shapes.MAX_ID + 1)), id="id"),
        pytest.param(messages.Lookup(["a"] * (shapes.MAX_LIST + 1)), id="list"),
        pytest.param(messages.Lookup(["a" * 4000] * 300), id="texts of a list"),
    ],
)
def test_what_a_reader_would_refuse_is_noticed_by_the_writer(message: messages.Message) -> None:
    with pytest.raises(errors.MessageTooLarge, match=type(message).__name__):
        shapes.check_size(message)


@hypothesis.given(strategies.ANY)
def test_what_a_reader_accepts_passes_the_writer(message: messages.Message) -> None:
    shapes.check_size(message)
