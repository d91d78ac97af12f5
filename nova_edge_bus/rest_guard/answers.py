# SPDX-License-Identifier: Apache-2.0
"""Answers that the guard gives on its own account, in the form that the service's clients read."""

import collections.abc
import json
import types
import typing

from aiohttp import web

SERVER = "nova-edge-bus rest-guard"
"""The Server field, which tells these answers from the service's own."""

_TITLES = {
    417: "Expectation Failed",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def failure(
    service: str, status: int, detail: str, retry_after: int | None = None
) -> web.Response:
    """An error in the format of *service*, the name that the upstream was given.

    :param retry_after: seconds
    """
    headers = {"Server": SERVER}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return web.Response(
        status=status,
        headers=headers,
        content_type="application/json",
        body=json.dumps(_body(service, status, detail)).encode(),
    )


def stand_in(
    status: int,
    said: dict[str, typing.Any],
    fields: collections.abc.Mapping[str, str] = types.MappingProxyType({}),
) -> web.Response:
    """What the service once said."""
    return web.Response(
        status=status,
        headers={"Server": SERVER, **fields},
        content_type="application/json",
        body=json.dumps(said).encode(),
    )


def _body(service: str, status: int, detail: str) -> dict[str, typing.Any]:
    title = _TITLES[status]
    if service == "placement":
        return {"errors": [{"status": status, "title": title, "detail": detail}]}
    if service in ("neutron", "network"):
        kind = title.replace(" ", "")
        return {"NeutronError": {"type": kind, "message": detail, "detail": ""}}
    # keystone's own form, which the clients of glance, cinder and nova read as well.
    return {"error": {"code": status, "title": title, "message": detail}}
