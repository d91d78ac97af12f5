# SPDX-License-Identifier: Apache-2.0
"""keystoneauth, and nova's own clients on top of it, see through the guard what they need."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import keystoneauth1.adapter
import keystoneauth1.discover
import keystoneauth1.exceptions
import keystoneauth1.session
import keystoneauth1.token_endpoint
import pytest

from tests.nova import config
from tests.nova.processes import wait_until
from tests.nova.relay import Relay
from tests.rest_guard.conftest import MakeGuard
from tests.rest_guard.processes import WAIT_SECONDS
from tests.rest_guard.processes import Guard
from tests.rest_guard.processes import Service
from tests.rest_guard.test_cut import OUT
from tests.rest_guard.test_discovery import wait_for_documents


def adapter(url: str, **options: Any) -> keystoneauth1.adapter.Adapter:
    """A new client, which has discovered nothing yet."""
    auth = keystoneauth1.token_endpoint.Token(url, "token")
    session = keystoneauth1.session.Session(auth, timeout=WAIT_SECONDS)
    return keystoneauth1.adapter.Adapter(
        session, service_type="identity", endpoint_override=url, **options
    )


def discovered(url: str, **options: Any) -> keystoneauth1.discover.EndpointData:
    data = adapter(url, **options).get_endpoint_data()
    assert data is not None
    return data


def test_discovery_finds_the_same_through_the_guard_as_without_it(
    guard: Guard, service: Service
) -> None:
    wanted = [{"version": "3"}, {"min_version": "2", "max_version": "2.latest"}, {}]
    direct = [discovered(service.url, **options) for options in wanted]
    for cut in (False, True):
        if cut:
            service.process.kill()
        for before, options in zip(direct, wanted, strict=True):
            data = discovered(guard.url, **options)
            assert data.api_version == before.api_version
            assert data.max_microversion == before.max_microversion
            assert str(data.url) == str(before.url).replace(service.url, guard.url)


def test_a_versioned_address_is_discovered(guard: Guard, service: Service) -> None:
    wait_for_documents(guard, "/", "/v3")
    for path in ("/v3", "/v3/"):
        assert discovered(guard.url + path).url == f"{guard.url}/v3/"
    service.process.kill()
    for path in ("/v3", "/v3/"):
        assert discovered(guard.url + path).url == f"{guard.url}/v3/"


def test_links_to_a_public_name_are_taken_as_without_the_guard(
    guard: Guard, service: Service
) -> None:
    direct = discovered(f"{service.url}/v4")
    for cut in (False, True):
        if cut:
            service.process.kill()
        found = discovered(f"{guard.url}/v4")
        assert str(found.url) == str(direct.url).replace(service.url, guard.url)


def test_a_call_fails_at_once_and_says_when_to_come_again(
    relay: Relay, far_guard: Guard, service: Service
) -> None:
    wait_for_documents(far_guard, "/", "/v3")
    client = adapter(far_guard.url)
    assert client.get("/things").ok
    relay.silence()
    with pytest.raises(keystoneauth1.exceptions.ServiceUnavailable):
        client.get("/things")
    far_guard.wait_for(OUT)
    with pytest.raises(keystoneauth1.exceptions.ServiceUnavailable) as failure:
        client.post("/things", json={})
    assert "out of reach" in failure.value.details
    assert failure.value.retry_after >= 1
    relay.resume()
    far_guard.wait_for("is back")
    assert client.post("/things", json={}).ok


def test_a_client_may_retry(relay: Relay, far_guard: Guard) -> None:
    relay.reset()
    relay.silence()
    client = adapter(far_guard.url, status_code_retries=1000, status_code_retry_delay=0.1)
    with pytest.raises(keystoneauth1.exceptions.ServiceUnavailable):
        adapter(far_guard.url).get("/things")
    relay.resume()
    assert client.post("/things", json={}).ok


class NovaClient:
    """The process of tests.rest_guard.nova_client."""

    def __init__(self, directory: pathlib.Path, guard: Guard) -> None:
        auth = {
            "auth_type": "password",
            "auth_url": guard.url,
            "username": "nova",
            "password": "secret",
            "user_domain_name": "Default",
            "project_name": "service",
            "project_domain_name": "Default",
        }
        rest = {**auth, "endpoint_override": guard.url, "timeout": WAIT_SECONDS}
        nova_conf = config.write(
            directory / "nova.conf",
            {
                "DEFAULT": {"transport_url": "fake:/", "log_file": directory / "client.log"},
                "placement": rest,
                "neutron": {**rest, "http_retries": 0},
                "glance": {**rest, "num_retries": 0},
            },
        )
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.rest_guard.nova_client", str(nova_conf)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=config.environment(),
            text=True,
        )

    def call(self, name: str) -> dict[str, Any]:
        """Make nova call a service once, and give the result or the error."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{name}\n")
        self._child.stdin.flush()
        outcome: dict[str, Any] = json.loads(self._child.stdout.readline())
        return outcome

    def close(self) -> None:
        """End it."""
        self._child.communicate(timeout=WAIT_SECONDS)


@pytest.fixture
def guard(service: Service, make_guard: MakeGuard) -> Guard:
    # One guard for all: the errors of a service that is not named suit every client.
    return make_guard(f"rest={service.url}", "--keep-tokens")


@pytest.fixture
def nova_client(tmp_path: pathlib.Path, guard: Guard) -> Iterator[NovaClient]:
    client = NovaClient(tmp_path, guard)
    yield client
    client.close()


def test_nova_goes_on_where_it_was_after_a_cut(
    nova_client: NovaClient, guard: Guard, service: Service
) -> None:
    assert nova_client.call("placement") == {"result": 200}
    assert nova_client.call("neutron") == {"result": {"ports": []}}
    assert nova_client.call("glance") == {"result": "cirros"}
    service.process.kill()
    assert nova_client.call("placement") == {"result": 503}
    assert nova_client.call("neutron")["error"] == "ServiceUnavailable"
    assert nova_client.call("glance")["error"] == "GlanceConnectionFailed"
    assert "out of reach" in nova_client.call("glance")["text"]
    service.start()
    guard.wait_for("is back")
    assert nova_client.call("placement") == {"result": 200}
    assert nova_client.call("neutron") == {"result": {"ports": []}}
    assert nova_client.call("glance") == {"result": "cirros"}


def test_nova_makes_its_clients_during_a_cut(
    tmp_path: pathlib.Path, guard: Guard, service: Service, nova_client: NovaClient
) -> None:
    earlier = NovaClient(tmp_path, guard)
    assert earlier.call("placement") == {"result": 200}
    earlier.close()
    service.process.kill()
    assert nova_client.call("placement") == {"result": 503}
    assert nova_client.call("neutron")["error"] == "ServiceUnavailable"
    service.start()
    guard.wait_for("is back")
    assert nova_client.call("placement") == {"result": 200}
    assert nova_client.call("neutron") == {"result": {"ports": []}}


def test_nova_cannot_make_its_clients_without_the_documents(
    service: Service, guard: Guard, nova_client: NovaClient
) -> None:
    wait_until(lambda: any(guard.cache.iterdir()), WAIT_SECONDS, "the cache")
    wait_for_documents(guard, "/", "/v3")
    guard.process.stop()
    for file in guard.cache.iterdir():
        file.unlink()
    service.process.kill()
    guard.start()
    assert nova_client.call("placement")["error"] == "DiscoveryFailure"
