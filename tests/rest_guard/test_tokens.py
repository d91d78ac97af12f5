# SPDX-License-Identifier: Apache-2.0
"""What keystone said about a token is repeated while it is out of reach, but never the token."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import requests

from tests.rest_guard import service as rest
from tests.rest_guard.conftest import MakeGuard
from tests.rest_guard.processes import WAIT_SECONDS
from tests.rest_guard.processes import Guard
from tests.rest_guard.processes import Service


@pytest.fixture
def guard(service: Service, make_guard: MakeGuard) -> Guard:
    return make_guard(f"keystone={service.url}", "--keep-tokens")


def ask_token(guard: Guard, password: str = "secret", path: str = "/v3/auth/tokens") -> Any:
    user = {"name": "nova", "password": password, "domain": {"name": "Default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    return requests.post(
        guard.url + path, json={"auth": {"identity": identity}}, timeout=WAIT_SECONDS
    )


def test_the_token_itself_is_not_repeated_and_never_kept(guard: Guard, service: Service) -> None:
    live = ask_token(guard)
    assert live.headers["X-Subject-Token"] == rest.TOKEN
    service.process.kill()
    answer = ask_token(guard)
    assert answer.status_code == 201
    assert answer.headers["X-Subject-Token"] != rest.TOKEN
    said, said_live = answer.json()["token"], live.json()["token"]
    for name in ("user", "project", "roles", "catalog", "methods"):
        assert said[name] == said_live[name]
    expires = datetime.datetime.fromisoformat(said["expires_at"])
    assert expires <= datetime.datetime.now(datetime.UTC)
    for file in guard.cache.iterdir():
        kept = file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert "secret" not in kept
        assert f'"{rest.TOKEN}"' not in kept


def test_it_survives_the_guard(guard: Guard, service: Service) -> None:
    assert ask_token(guard).status_code == 201
    service.process.kill()
    guard.process.kill()
    guard.start()
    assert ask_token(guard).status_code == 201


def test_other_credentials_get_nothing(guard: Guard, service: Service) -> None:
    assert ask_token(guard).status_code == 201
    service.process.kill()
    assert ask_token(guard, password="other").status_code == 503
    assert ask_token(guard, path="/v3/auth/tokens?nocatalog").status_code == 503
    assert ask_token(guard, path="/v3/users").status_code == 503


def test_credentials_that_keystone_refuses_are_forgotten(guard: Guard, service: Service) -> None:
    assert ask_token(guard).status_code == 201
    (file,) = guard.cache.glob("*.tokens.json")
    kept = json.loads(file.read_text())
    assert ask_token(guard, password="revoked").status_code == 401
    # As if those credentials had been good once.
    (entry,) = kept["entries"].values()
    guard.process.stop()
    kept["entries"] = {digest_of(guard, service, "revoked"): entry}
    file.write_text(json.dumps(kept))
    guard.start()
    assert ask_token(guard, password="revoked").status_code == 401
    service.process.kill()
    assert ask_token(guard, password="revoked").status_code == 503


def digest_of(guard: Guard, service: Service, password: str) -> str:
    """Under which key the guard keeps what is said to a password."""
    from nova_edge_bus.rest_guard import addresses
    from nova_edge_bus.rest_guard import tokens

    user = {"name": "nova", "password": password, "domain": {"name": "Default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    known = tokens.Tokens(guard.cache, addresses.parse_upstream(f"keystone={service.url}"))
    token = known.of("/v3/auth/tokens", json.dumps({"auth": {"identity": identity}}).encode())
    assert token is not None
    return token.key


def test_it_is_off_unless_asked_for(service: Service, make_guard: MakeGuard) -> None:
    guard = make_guard(f"keystone={service.url}")
    assert ask_token(guard).status_code == 201
    assert not list(guard.cache.glob("*tokens*"))
    service.process.kill()
    assert ask_token(guard).status_code == 503
