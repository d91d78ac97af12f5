# SPDX-License-Identifier: Apache-2.0
"""A small client of nova's REST API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

from tests.nova.rest_stub import IMAGE_ID

# networks=none came with 2.37; 2.74 lets an admin name the host to boot on
_MICROVERSION = "2.96"
_REQUEST_SECONDS = 200
_POLL_SECONDS = 0.1

Server = dict[str, Any]


class ServerError(Exception):
    """A server went to ERROR, or did not reach the state asked for in time."""


class NovaClient:
    """Calls on one nova-api as its administrator; every wait is bounded."""

    def __init__(self, url: str, wait_seconds: float = 60.0) -> None:
        """Talk to the API at this URL.

        :param wait_seconds: how long wait_for() waits unless it is told otherwise
        """
        self._url = f"{url}/v2.1"
        self._wait_seconds = wait_seconds
        self._http = requests.Session()
        self._http.headers["OpenStack-API-Version"] = f"compute {_MICROVERSION}"

    def create_flavor(self, name: str, vcpus: int, ram_mb: int, disk_gb: int) -> None:
        """Make a flavor whose id is its name."""
        flavor = {"id": name, "name": name, "vcpus": vcpus, "ram": ram_mb, "disk": disk_gb}
        self._call("POST", "/flavors", {"flavor": flavor})

    def services(self) -> list[dict[str, Any]]:
        """Return the compute services API, `nova service-list`."""
        services: list[dict[str, Any]] = self._call("GET", "/os-services")["services"]
        return services

    def is_up(self, host: str) -> bool:
        """Whether nova-compute on that host counts as up: it has had a heartbeat lately."""
        return any(
            each["host"] == host and each["binary"] == "nova-compute" and each["state"] == "up"
            for each in self.services()
        )

    def force_down(self, host: str, down: bool) -> None:
        """Say that nova-compute on that host is fenced, whatever it reports; or take it back.

        :raises requests.HTTPError: when it is taken back while the host has not yet destroyed the
            guests that were evacuated from it (400)
        """
        (service,) = (each for each in self.services() if each["host"] == host)
        self._call("PUT", f"/os-services/{service['id']}", {"forced_down": down})

    def hypervisors(self) -> list[dict[str, Any]]:
        """Return the hypervisors that the cells know."""
        hypervisors: list[dict[str, Any]] = self._call("GET", "/os-hypervisors")["hypervisors"]
        return hypervisors

    def create(self, name: str, flavor: str = "small", host: str | None = None) -> str:
        """Ask for a server without networks and return its id at once.

        :param host: where to boot it; by default the scheduler decides
        """
        server: dict[str, Any] = {
            "name": name,
            "flavorRef": flavor,
            "imageRef": IMAGE_ID,
            "networks": "none",
        }
        if host is not None:
            server["host"] = host
        created: str = self._call("POST", "/servers", {"server": server})["server"]["id"]
        return created

    def show(self, server_id: str) -> Server:
        """Return the server.

        :raises requests.HTTPError: when there is none (404)
        """
        server: Server = self._call("GET", f"/servers/{server_id}")["server"]
        return server

    def servers(self) -> list[Server]:
        """Return all servers, in detail."""
        servers: list[Server] = self._call("GET", "/servers/detail")["servers"]
        return servers

    def actions(self, server_id: str) -> list[dict[str, Any]]:
        """Return the server's actions with their events, newest first."""
        path = f"/servers/{server_id}/os-instance-actions"
        listed = self._call("GET", path)["instanceActions"]
        return [
            self._call("GET", f"{path}/{each['request_id']}")["instanceAction"] for each in listed
        ]

    def act(self, server_id: str, action: str, arguments: Any = None) -> None:
        """Ask for a server action by its name in the API, such as os-stop."""
        self._call("POST", f"/servers/{server_id}/action", {action: arguments})

    def stop(self, server_id: str) -> None:
        """Stop the server and wait until it is off."""
        self.act(server_id, "os-stop")
        self.wait_for(server_id, "SHUTOFF")

    def start(self, server_id: str) -> None:
        """Start the server and wait until it runs."""
        self.act(server_id, "os-start")
        self.wait_for(server_id, "ACTIVE")

    def reboot(self, server_id: str, hard: bool = False) -> None:
        """Reboot the server and wait until it runs."""
        self.act(server_id, "reboot", {"type": "HARD" if hard else "SOFT"})
        self.wait_for(server_id, "ACTIVE")

    def pause(self, server_id: str) -> None:
        """Pause the server and wait for it."""
        self.act(server_id, "pause")
        self.wait_for(server_id, "PAUSED")

    def unpause(self, server_id: str) -> None:
        """Unpause the server and wait until it runs."""
        self.act(server_id, "unpause")
        self.wait_for(server_id, "ACTIVE")

    def resize(self, server_id: str, flavor: str) -> None:
        """Resize the server, which moves it to another host, and confirm."""
        self.act(server_id, "resize", {"flavorRef": flavor})
        self.wait_for(server_id, "VERIFY_RESIZE")
        self.act(server_id, "confirmResize")
        self.wait_for(server_id, "ACTIVE")

    def live_migrate(self, server_id: str, host: str | None = None) -> None:
        """Move the running server to another host and wait until it is there."""
        source = self.host_of(server_id)
        self.act(server_id, "os-migrateLive", {"host": host, "block_migration": "auto"})
        self.wait_for(server_id, "ACTIVE", where=lambda server: _host(server) != source)

    def evacuate(self, server_id: str, host: str) -> None:
        """Rebuild the server on another host, where it stays off, and wait until it is there."""
        self.act(server_id, "evacuate", {"host": host})
        self.wait_for(server_id, "SHUTOFF", where=lambda server: _host(server) == host)

    def set_metadata(self, server_id: str, metadata: dict[str, str]) -> None:
        """Add these keys to the server's metadata, or change them."""
        self._call("POST", f"/servers/{server_id}/metadata", {"metadata": metadata})

    def delete(self, server_id: str) -> None:
        """Delete the server and wait until the API no longer knows it."""
        self.request_delete(server_id)
        self.wait_gone(server_id)

    def request_delete(self, server_id: str) -> None:
        """Ask for the server's end and return at once."""
        self._call("DELETE", f"/servers/{server_id}")

    def wait_gone(self, server_id: str) -> None:
        """Wait until the API no longer knows the server.

        :raises ServerError: when time is up
        """
        deadline = time.monotonic() + self._wait_seconds
        while server_id in {each["id"] for each in self.servers()}:
            if time.monotonic() > deadline:
                raise ServerError(f"{server_id} is still there, {_state(self.show(server_id))}")
            time.sleep(_POLL_SECONDS)

    def host_of(self, server_id: str) -> str:
        """Return the compute host that the server is on."""
        return _host(self.show(server_id))

    def wait_for(
        self,
        server_id: str,
        status: str,
        *,
        where: Callable[[Server], bool] = lambda _: True,
        seconds: float | None = None,
    ) -> Server:
        """Return the server once it has the status and no task, and where() is true of it.

        :raises ServerError: when it goes to ERROR instead, or time is up
        """
        seconds = self._wait_seconds if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while True:
            server = self.show(server_id)
            settled = server["OS-EXT-STS:task_state"] is None
            if settled and server["status"] == status and where(server):
                return server
            if server["status"] == "ERROR" != status:
                fault = server.get("fault", {}).get("message")
                raise ServerError(f"{server_id} went to ERROR instead of {status}: {fault}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{server_id} is not {status} after {seconds:g} s: {_state(server)}"
                )
            time.sleep(_POLL_SECONDS)

    def _call(self, verb: str, path: str, body: Any = None) -> Any:
        response = self._http.request(verb, self._url + path, json=body, timeout=_REQUEST_SECONDS)
        if response.status_code >= 400:
            raise requests.HTTPError(
                f"{verb} {path}: {response.status_code} {response.text}", response=response
            )
        return response.json() if response.content else None


def _host(server: Server) -> str:
    return str(server["OS-EXT-SRV-ATTR:host"])


def _state(server: Server) -> str:
    return (
        f"status {server['status']}, task {server['OS-EXT-STS:task_state']},"
        f" power {server['OS-EXT-STS:power_state']}, host {_host(server)}"
    )
