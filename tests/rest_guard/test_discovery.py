# SPDX-License-Identifier: Apache-2.0
"""Version discovery works while the service is out of reach, from what the service once said."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.nova.processes import wait_until
from tests.nova.relay import Relay
from tests.rest_guard.conftest import MakeGuard
from tests.rest_guard.processes import WAIT_SECONDS
from tests.rest_guard.processes import Guard
from tests.rest_guard.processes import Service
from tests.rest_guard.test_cut import BACK
from tests.rest_guard.test_cut import OUT


def ask(guard: Guard, path: str, **fields: str) -> requests.Response:
    return requests.get(guard.url + path, headers=fields, timeout=WAIT_SECONDS)


def self_links(answer: requests.Response) -> list[str]:
    document: dict[str, Any] = answer.json()
    versions = document.get("versions") or [document["version"]]
    return [link["href"] for each in versions for link in each["links"] if link["rel"] == "self"]


def wait_for_documents(guard: Guard, *keys: str) -> None:
    def kept() -> bool:
        files = list(guard.cache.glob("*.documents.json"))
        return bool(files) and set(keys) <= set(json.loads(files[0].read_text())["entries"])

    wait_until(kept, WAIT_SECONDS, f"the documents {keys} to be kept")


def cut(guard: Guard, service: Service) -> None:
    service.process.kill()
    assert ask(guard, "/things").status_code == 503
    guard.wait_for(OUT)


def test_documents_are_the_same_before_and_during_a_cut(guard: Guard, service: Service) -> None:
    before = {path: ask(guard, path) for path in ("/", "/v3", "/v3/", "/v4/")}
    cut(guard, service)
    for path, answer in before.items():
        again = ask(guard, path)
        assert (again.status_code, again.json()) == (answer.status_code, answer.json())


def test_links_lead_to_where_the_client_sees_the_guard(guard: Guard, service: Service) -> None:
    for reached in (True, False):
        if not reached:
            cut(guard, service)
        assert self_links(ask(guard, "/")) == ["", f"{guard.url}/v2/", f"{guard.url}/v3/"]
        assert self_links(ask(guard, "/", Host="me:1"))[1:] == [
            "http://me:1/v2/",
            "http://me:1/v3/",
        ]
        # That host is not the upstream's, and the path there is not its path here.
        if reached:
            assert self_links(ask(guard, "/v4")) == ["https://public.example/volume/v4/"]


def test_a_document_nobody_asked_for_is_known_if_the_root_points_to_it(
    guard: Guard, service: Service
) -> None:
    wait_for_documents(guard, "/", "/v3")
    cut(guard, service)
    assert ask(guard, "/").status_code == 300
    assert ask(guard, "/v3").status_code == 200


def test_documents_survive_the_guard(guard: Guard, service: Service) -> None:
    wait_for_documents(guard, "/", "/v3")
    service.process.kill()
    guard.process.kill()
    guard.start()
    assert ask(guard, "/").status_code == 300
    assert self_links(ask(guard, "/v3")) == [f"{guard.url}/v3/"]
    service.start()
    guard.wait_for(BACK)
    assert ask(guard, "/v3").status_code == 200


def test_what_was_never_seen_is_not_invented(make_guard: MakeGuard) -> None:
    guard = make_guard("placement=http://127.0.0.1:1")
    for path in ("/", "/v3"):
        assert ask(guard, path).status_code == 503


def test_only_version_documents_are_kept(guard: Guard, service: Service) -> None:
    wait_for_documents(guard, "/", "/v3")
    for path in ("/v5", "/v2/", "/status?code=200", "/echo"):
        ask(guard, path)
    cut(guard, service)
    for path in ("/v5", "/v2/", "/status?code=200", "/echo", "/?marker=1"):
        assert ask(guard, path).status_code == 503
    assert requests.head(f"{guard.url}/v3", timeout=WAIT_SECONDS).status_code == 503


def test_a_file_that_is_broken_is_ignored(guard: Guard, service: Service) -> None:
    wait_for_documents(guard, "/")
    guard.process.kill()
    (file,) = guard.cache.glob("*.documents.json")
    file.write_bytes(b"\x00" * 1000)
    service.process.kill()
    guard.start()
    guard.wait_for("ignoring the documents")
    assert ask(guard, "/").status_code == 503
    service.start()
    guard.wait_for(BACK)
    wait_for_documents(guard, "/", "/v3")


def test_documents_are_private_to_the_owner(guard: Guard) -> None:
    wait_for_documents(guard, "/")
    (file,) = guard.cache.glob("*.documents.json")
    assert file.stat().st_mode & 0o777 == 0o600
    assert guard.cache.stat().st_mode & 0o777 == 0o700


def test_a_gateway_without_its_service_does_not_hide_a_known_document(guard: Guard) -> None:
    first = ask(guard, "/v6")
    again = ask(guard, "/v6")
    assert (again.status_code, again.json()) == (200, first.json())
    assert OUT not in guard.log


def test_a_document_owed_by_a_silent_service_comes_from_the_cache(
    relay: Relay, far_guard: Guard, service: Service
) -> None:
    wait_for_documents(far_guard, "/", "/v3")
    relay.silence()
    assert ask(far_guard, "/v3").status_code == 200


def test_a_base_path_stays_in_the_address(service: Service, make_guard: MakeGuard) -> None:
    guard = make_guard(f"identity={service.url}/v3")
    assert guard.url.endswith("/v3")
    wait_for_documents(guard, "/v3")
    service.process.kill()
    assert ask(guard, "/auth/tokens").status_code == 503
    assert self_links(requests.get(guard.url, timeout=WAIT_SECONDS)) == [f"{guard.url}/"]


def test_a_slow_document_that_is_known_comes_from_the_cache(guard: Guard) -> None:
    first = ask(guard, "/v7")
    again = ask(guard, "/v7")
    assert (again.status_code, again.json()) == (200, first.json())
    assert OUT not in guard.log
