# SPDX-License-Identifier: Apache-2.0
"""What travels inside a delivery: the same JSON that the in-tree drivers send.

JSON rather than msgpack, because nova relies on what JSON does to its values: tuples become lists,
keys become text, dates become ISO strings.
"""

from typing import Any

from oslo_messaging._drivers import common
from oslo_serialization import jsonutils

from nova_edge_bus.protocol import shapes

MAX_BYTES = shapes.MAX_BODY
_CREDENTIALS = ("auth_token", "service_token", "service_catalog")
"""What a request context lets its holder do as the user, and where."""


def pack(ctxt: dict[str, Any], message: dict[str, Any]) -> bytes:
    """The body of a call, a cast or a notification."""
    packed: bytes = jsonutils.dump_as_bytes([ctxt, message])
    return packed


def without_credentials(ctxt: dict[str, Any]) -> dict[str, Any]:
    """The context of one who acts for the user and cannot act as the user.

    It still has these keys, as nova's own contexts of periodic tasks do.
    """
    return ctxt | {key: None for key in _CREDENTIALS if key in ctxt}


def unpack(body: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    """The context and the message of a body, and the note of one that was answered already."""
    ctxt, message, *rest = jsonutils.loads(body)
    return ctxt, message, rest[0] if rest else None


def pack_reply(reply: Any) -> bytes:
    """The body of a successful reply."""
    packed: bytes = jsonutils.dump_as_bytes(reply)
    return packed


def unpack_reply(body: bytes) -> Any:
    """The value of a successful reply."""
    return jsonutils.loads(body)


def pack_failure(failure: Any) -> bytes:
    """The body of a reply that carries an exception, given its ``exc_info``."""
    packed: str = common.serialize_remote_exception(failure)
    return packed.encode()


def unpack_failure(body: bytes, allowed_remote_exmods: list[str]) -> Exception:
    """The exception of a reply, rebuilt when its module is allowed, else a RemoteError."""
    failure: Exception = common.deserialize_remote_exception(body.decode(), allowed_remote_exmods)
    return failure
