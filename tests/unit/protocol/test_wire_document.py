# SPDX-License-Identifier: Apache-2.0
"""The specification of the wire says what the code does: its tables are made from the code."""

import enum
import pathlib
import typing
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import pytest

from nova_edge_bus.protocol import accepted
from nova_edge_bus.protocol import codec
from nova_edge_bus.protocol import compression
from nova_edge_bus.protocol import credit
from nova_edge_bus.protocol import messages
from nova_edge_bus.protocol import routes
from nova_edge_bus.protocol import session
from nova_edge_bus.protocol import shapes
from nova_edge_bus.protocol import states

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "doc" / "source" / "wire.rst"

WORDS = {
    int: "number",
    str: "text",
    bool: "boolean",
    bytes: "bytes",
    bytes | None: "bytes or nil",
    list[str]: "texts",
    list[int]: "numbers",
    list[list[int]]: "ranges",
    list[messages.Consumer]: "consumers",
}


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A csv-table as it stands in the document."""

    def line(cells: Sequence[object]) -> str:
        return ", ".join(f'"{cell}"' for cell in cells)

    lines = [f".. csv-table:: {title}", f"   :header: {line(header)}", ""]
    return "\n".join([*lines, *(f"   {line(row)}" for row in rows), ""])


def summary(thing: Any) -> str:
    """The first sentence of a docstring, without markup."""
    text = " ".join((thing.__doc__ or "").split("\n\n")[0].split())
    return text.replace(":class:`Refusal`", "Refusal").replace(":class:`Consumer`", "Consumer")


def fields(cls: Any) -> str:
    hints = typing.get_type_hints(cls)
    always = len(hints) - messages.APPENDED.get(cls, 0)
    return ", ".join(
        f"{name} ({WORDS[hint]}{'' if number < always else ', may be left out'})"
        for number, (name, hint) in enumerate(hints.items())
    )


def message_rows() -> Iterable[tuple[object, ...]]:
    for cls, code in messages.CODES.items():
        credited = "yes" if cls in messages.CREDITED else ""
        yield code, cls.__name__, credited, fields(cls), summary(cls)


def state_rows(
    transitions: dict[tuple[states.State, states.Event], states.State],
) -> Iterable[tuple[object, ...]]:
    for (before, event), after in transitions.items():
        yield before.value, event.value, after.value


def choice_rows(choices: type[enum.IntEnum]) -> Iterable[tuple[object, ...]]:
    return ((choice.value, choice.name) for choice in choices)


TABLES = [
    table(
        "Messages of version 1", ("code", "message", "credit", "fields", "what it says"),
        message_rows(),
    ),
    table(
        "Fields of a consumer", ("fields",), [(fields(messages.Consumer),)]
    ),
    table(
        "The peer's side", ("state", "event", "next state"), state_rows(states.DIAL_TRANSITIONS)
    ),
    table(
        "The endpoint's side", ("state", "event", "next state"),
        state_rows(states.ACCEPT_TRANSITIONS),
    ),
    table("Encodings", ("first byte", "encoding"), choice_rows(compression.Encoding)),
    table("Kinds of a delivery", ("value", "kind"), choice_rows(messages.Kind)),
    table("Status of a reply", ("value", "status"), choice_rows(messages.Status)),
    table("Reasons to refuse a delivery", ("value", "reason"), choice_rows(messages.Refusal)),
    table("State of a peer", ("value", "state"), choice_rows(messages.PeerState)),
    table("Reasons to reject a session", ("value", "reason"), choice_rows(messages.Rejection)),
    table(
        "Limits", ("what", "at most"),
        [
            ("bytes of a packet", compression.MAX_PACKET),
            ("bytes of a body", shapes.MAX_BODY),
            ("characters of a text", shapes.MAX_TEXT),
            ("bytes of an id", shapes.MAX_ID),
            ("a number", shapes.MAX_INT),
            ("elements of a list, and messages of a packet", shapes.MAX_LIST),
            ("characters of the texts of a list together", shapes.MAX_LIST_TEXT),
            ("lists of a packet, messages included", shapes.MAX_LISTS),
            ("consumers that one Routes lists", routes.MAX_CONSUMERS),
            ("messages outstanding on a session", session.MAX_WINDOW),
            ("bytes outstanding on a session, beside one message", session.MAX_WINDOW_BYTES),
            ("bytes of the packet with the HELLO, unpacked", accepted.MAX_GREETING),
            (
                f"bytes beside the bodies in an unpacked packet of more than {codec.LARGE}",
                codec.MAX_BESIDE_BODIES,
            ),
            ("bytes a packet expands to without regard to its size", compression.FREE_EXPANSION),
            ("times its own size that a larger packet expands to", compression.MAX_RATIO),
        ],
    ),
    table(
        "Weights", ("what", "counts for"),
        [
            ("every message", credit.OVERHEAD),
            ("each byte of a body", 1),
            ("each character of a text", 1),
            ("each number or range of a list", credit.PER_NUMBER),
            ("each consumer of a list", credit.PER_CONSUMER),
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize("expected", TABLES, ids=lambda text: text.partition("\n")[0][15:])
def test_table_is_current(expected: str) -> None:
    assert expected in DOCUMENT.read_text(), f"doc/source/wire.rst should have:\n\n{expected}"


def test_no_other_table_is_kept_by_hand() -> None:
    assert DOCUMENT.read_text().count(".. csv-table::") == len(TABLES)
