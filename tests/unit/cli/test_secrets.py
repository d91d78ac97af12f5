# SPDX-License-Identifier: Apache-2.0
"""Nothing that opens a door is ever printed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nova import context as nova_context
from nova import objects
from nova.objects import base as objects_base
from oslo_utils import uuidutils

from nova_edge_bus.cli import secrets
from nova_edge_bus.cli import shown
from nova_edge_bus.driver import body

SECRETS = (
    "gAAAA-the-token",
    "https-of-the-catalog",
    "the-admin-password",
    "dGhlLXVzZXItZGF0YQ==",
    "the-injected-content",
    "the-chap-password",
    "the-trust",
    "crypted-chunk",
)


@pytest.fixture
def request_body() -> bytes:
    """A rebuild as nova would cast it, with everything in it that is nobody's business."""
    objects.register_all()
    context = nova_context.RequestContext(
        user_id="u",
        project_id="p",
        # Otherwise nova asks its policy, which wants to be configured.
        is_admin=True,
        auth_token=SECRETS[0],
        service_catalog=[
            {"type": "volumev3", "name": "cinder", "endpoints": [{"publicURL": SECRETS[1]}]}
        ],
    )
    instance = objects.Instance(
        uuid=uuidutils.generate_uuid(),
        host="edge-7",
        user_data=SECRETS[3],
        config_drive="the-trust",
        system_metadata={"password_0": SECRETS[7], "image_os": "linux"},
    )
    device = objects.BlockDeviceMapping(
        volume_id=uuidutils.generate_uuid(),
        connection_info=json.dumps({"data": {"auth_password": SECRETS[5]}}),
    )
    arguments: dict[str, Any] = {
        "instance": objects_base.NovaObject.obj_to_primitive(instance),
        "bdms": [objects_base.NovaObject.obj_to_primitive(device)],
        "new_pass": SECRETS[2],
        "injected_files": [["/etc/motd", SECRETS[4]]],
        "trusts": [{"trust_id": SECRETS[6]}],
        "as_text": json.dumps({"deep": [{"adminPass": SECRETS[2]}]}),
        "preserve_ephemeral": False,
    }
    return body.pack(context.to_dict(), {"method": "rebuild_instance", "args": arguments})


def test_a_real_request_has_lost_its_secrets_and_nothing_else(request_body: bytes) -> None:
    assert all(secret.encode() in request_body for secret in SECRETS)
    context, message, note = shown.parts(request_body)
    printed = json.dumps([context, message])
    assert [secret for secret in SECRETS if secret in printed] == []
    assert (context["user_id"], context["request_id"][:4], note) == ("u", "req-", None)
    assert context["auth_token"] == context["service_catalog"] == secrets.HIDDEN
    arguments = message["args"]
    data = arguments["instance"]["nova_object.data"]
    assert (message["method"], data["host"], arguments["preserve_ephemeral"]) == (
        "rebuild_instance",
        "edge-7",
        False,
    )
    assert data["system_metadata"] == {"password_0": secrets.HIDDEN, "image_os": "linux"}


@pytest.mark.parametrize(
    "key",
    [
        "auth_token",
        "X-Auth-Token",
        "service_catalog",
        "adminPass",
        "admin_password",
        "rescue_password",
        "user_data",
        "injected_files",
        "trust_id",
        "connection_info",
        "encryption_secret",
        "Authorization",
    ],
)
def test_a_telling_key_is_hidden_at_any_depth(key: str) -> None:
    assert secrets.scrub([{"a": [{key: "x"}]}]) == [{"a": [{key: secrets.HIDDEN}]}]


@pytest.mark.parametrize("key", ["uuid", "host", "task_state", "trusted_certs", "image_ref"])
def test_other_keys_are_shown(key: str) -> None:
    assert secrets.scrub({key: "x"}) == {key: "x"}


@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_that_there_is_no_secret_is_shown(nothing: object) -> None:
    assert secrets.scrub({"auth_token": nothing}) == {"auth_token": nothing}


def test_a_password_in_a_text_is_masked() -> None:
    assert "hunter2" not in secrets.text("cannot log in with password='hunter2' at host")
    assert "hunter2" not in secrets.scrub(["rabbit said: 'admin_password': 'hunter2'"])[0]


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"{}", b"[1]", b"[{}, {}, {}, {}]"])
def test_a_body_that_is_no_message_is_not_shown(content: bytes) -> None:
    assert shown.parts(content) == (None, None, None)
