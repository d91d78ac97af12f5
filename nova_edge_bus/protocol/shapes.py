# SPDX-License-Identifier: Apache-2.0
"""What the fields of each message may be, read off the classes' annotations, and its check.

The check runs once a message at every hop, so it is made of few operations that work on all
fields of a kind at once.
"""

import collections.abc
import functools
import itertools
import operator
import typing

from nova_edge_bus import errors
from nova_edge_bus.protocol import messages

MAX_BODY = 15 * 1024 * 1024
"""Bytes of a body at most; what remains of a packet is for the other fields."""

MAX_TEXT = 4096
"""Characters of a text at most."""

MAX_TEXT_BYTES = 4 * MAX_TEXT
"""Bytes of a text at most: UTF-8 takes up to four for a character."""

MAX_ID = 32
"""Bytes of an id at most."""

MAX_INT = 2**63 - 1
"""The largest number: what a signed integer of eight bytes holds, so that databases can."""

MAX_LIST = 4096
"""Elements of a list at most, and messages of a packet."""

MAX_LIST_TEXT = 1024 * 1024
"""Characters of all texts of a list at most."""

MAX_LISTS = 16384
"""Lists of a packet at most, the messages themselves included."""

_SIZED = (str, bytes, list)

_Fields = collections.abc.Sequence[typing.Any]
_Pick = collections.abc.Callable[[_Fields], tuple[typing.Any, ...]]


def _picker(positions: list[int]) -> _Pick:
    if len(positions) == 1:
        only = positions[0]
        return lambda fields: (fields[only],)
    return operator.itemgetter(*positions) if positions else lambda fields: ()


def _check_texts(values: list[typing.Any]) -> list[typing.Any]:
    if any(type(value) is not str for value in values):
        raise errors.ProtocolError("list of texts holds something else")
    lengths = list(map(len, values))
    if lengths and (max(lengths) > MAX_TEXT or sum(lengths) > MAX_LIST_TEXT):
        raise errors.ProtocolError("list of texts holds more than it may")
    return values


def _check_numbers(values: list[typing.Any]) -> list[typing.Any]:
    if any(type(value) is not int or not 0 <= value <= MAX_INT for value in values):
        raise errors.ProtocolError("list of numbers holds something else")
    return values


def _check_ranges(values: list[typing.Any]) -> list[typing.Any]:
    for value in values:
        if type(value) is not list or len(value) != 2:
            raise errors.ProtocolError("list of ranges holds something else")
        _check_numbers(value)
        if value[0] > value[1]:
            raise errors.ProtocolError(f"range {value} ends before it begins")
    return values


def _check_consumers(values: list[typing.Any]) -> list[typing.Any]:
    for value in values:
        if type(value) is not list or not value:
            raise errors.ProtocolError("list of consumers holds something else")
    return [_CONSUMER.read_from(value, 0) for value in values]


_LIST_CHECKS: dict[typing.Any, collections.abc.Callable[[list[typing.Any]], list[typing.Any]]] = {
    list[str]: _check_texts,
    list[int]: _check_numbers,
    list[list[int]]: _check_ranges,
    list[messages.Consumer]: _check_consumers,
}


class Shape:
    """The fields of one message class.

    :param cls: the class; its annotations are from the few kinds that the wire knows
    """

    def __init__(self, cls: typing.Any) -> None:
        hints = typing.get_type_hints(cls)
        choices = [_types_of(hint) for hint in hints.values()]
        kinds = [choice[0] for choice in choices]
        self._name = cls.__name__
        self._appended = _appended_defaults(cls)
        self._cls = cls
        self._arity = len(hints)
        self._accepted = frozenset(itertools.product(*choices))
        self._numbers = _picker([i for i, kind in enumerate(kinds) if kind is int])
        self._has_numbers = int in kinds
        self._texts = _picker([i for i, kind in enumerate(kinds) if kind is str])
        self._has_texts = str in kinds
        self._ids = _picker(
            [i for i, name in enumerate(hints) if kinds[i] is bytes and name != "body"]
        )
        self._lists = [
            (i, _LIST_CHECKS[hint]) for i, hint in enumerate(hints.values()) if kinds[i] is list
        ]

    def read(self, item: list[typing.Any]) -> typing.Any:
        """Make the message of an array that begins with the message's code.

        :raises ProtocolError: when a field is missing, of another type, or beyond its limits
        """
        return self.read_from(item, 1)

    def read_from(self, item: list[typing.Any], start: int) -> typing.Any:
        """Make the message of the fields that begin at *start*; further ones are ignored.

        :raises ProtocolError: as :meth:`read` does
        """
        fields = item[start : start + self._arity]
        missing = self._arity - len(fields)
        if 0 < missing <= len(self._appended):
            fields += self._appended[-missing:]
        if tuple(map(type, fields)) not in self._accepted:
            raise errors.ProtocolError(f"{self._name} has fields of other types or too few")
        if self._has_numbers:
            numbers = self._numbers(fields)
            if min(numbers) < 0 or max(numbers) > MAX_INT:
                raise errors.ProtocolError(f"{self._name} has a number out of range")
        if self._has_texts and max(map(len, self._texts(fields))) > MAX_TEXT:
            raise errors.ProtocolError(
                f"{self._name} has a text of more than {MAX_TEXT} characters"
            )
        for value in self._ids(fields):
            if value is not None and len(value) > MAX_ID:
                raise errors.ProtocolError(f"{self._name} has an id of {len(value)} bytes")
        for position, check in self._lists:
            fields[position] = check(fields[position])
        # What the class's own _make does, without its look at the number of fields.
        return tuple.__new__(self._cls, fields)


@functools.cache
def _appended_defaults(cls: typing.Any) -> list[typing.Any]:
    count = messages.APPENDED.get(cls, 0)
    return list(cls._field_defaults.values())[-count:] if count else []


def written(message: messages.Message) -> _Fields:
    """The fields of *message* as they are written: without those that nobody needs to be told."""
    if isinstance(message, messages.Routes):
        return (message.address, [_trimmed(consumer) for consumer in message.consumers])
    return _trimmed(message)


def _trimmed(fields: tuple[typing.Any, ...]) -> _Fields:
    if fields[-1]:
        return fields
    end = len(fields)
    for default in reversed(_appended_defaults(type(fields))):
        if fields[end - 1] != default:
            break
        end -= 1
    return fields[:end]


def _types_of(hint: typing.Any) -> tuple[type, ...]:
    if typing.get_origin(hint) is list:
        return (list,)
    return typing.get_args(hint) or (hint,)


_CONSUMER = Shape(messages.Consumer)

BY_CODE: dict[int, Shape] = {code: Shape(cls) for code, cls in messages.CLASSES.items()}


def check_size(message: messages.Message) -> None:
    """Check the sizes of what this side is about to send.

    :raises MessageTooLarge: when a reader would refuse it
    """
    fields: _Fields = message
    for position, value in enumerate(fields):
        # Whatever it is, it may have so much; most fields do not have more.
        if isinstance(value, _SIZED) and (type(value) is list or len(value) > MAX_ID):
            _check_field(type(message).__name__, message._fields[position], value)


def _check_field(name: str, field: str, value: typing.Any) -> None:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise errors.MessageTooLarge(
            f"{name} cannot carry a {field} of {len(value)} characters, at most {MAX_TEXT}"
        )
    if isinstance(value, bytes):
        limit = MAX_BODY if field == "body" else MAX_ID
        if len(value) > limit:
            raise errors.MessageTooLarge(
                f"{name} cannot carry a {field} of {len(value)} bytes, at most {limit}"
            )
    if isinstance(value, list):
        _check_list_size(name, field, value)


def _check_list_size(name: str, field: str, values: list[typing.Any]) -> None:
    if len(values) > MAX_LIST:
        raise errors.MessageTooLarge(
            f"{name} cannot carry {len(values)} {field}, at most {MAX_LIST}"
        )
    characters = sum(len(value) for value in values if isinstance(value, str))
    if characters > MAX_LIST_TEXT:
        raise errors.MessageTooLarge(
            f"{name} cannot carry {field} of {characters} characters, at most {MAX_LIST_TEXT}"
        )
