# SPDX-License-Identifier: Apache-2.0
"""A machine with a model of devstack, on which the plugin's own bash runs."""

from __future__ import annotations

import configparser
import dataclasses
import getpass
import os
import pathlib
import socket
import subprocess
from collections.abc import Mapping

CONTROLLER = "192.0.2.11"
COMPUTE = "192.0.2.21"
RUN_SECONDS = 100
SERVICES = {
    "all-in-one": "mysql,key,n-api,n-cond,n-sch,n-cpu,g-api,placement-api,q-svc,c-api",
    "controller": "mysql,key,n-api,n-cond,n-sch,g-api,placement-api,q-svc,c-api",
    "compute": "n-cpu,placement-client,q-agt,c-vol",
}
HOST = socket.gethostname()
_RECORDER = """#!/bin/bash
echo "nova-edge-bus $*" >> "$EVENTS"
if [[ "$1 $2 $4" == "keys new --dir" ]]; then
    mkdir -p "$5"
    touch "$5/$3.key" "$5/$3.pub"
fi
"""
_HARNESS = pathlib.Path(__file__).parent / "harness" / "machine.sh"


@dataclasses.dataclass(frozen=True)
class Layout:
    """What local.conf chooses."""

    cells: str = "superconductor"
    rabbit: bool = True
    node: str = "all-in-one"
    guard: bool = False

    @property
    def services(self) -> str:
        """ENABLED_SERVICES: rabbit runs on the controller, if at all."""
        return SERVICES[self.node] + (",rabbit" * (self.rabbit and self.node != "compute"))


class Machine:
    """One machine; its files are below *folder*."""

    def __init__(
        self, folder: pathlib.Path, layout: Layout, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.journals = self.data / "edge-bus"
        self.keys = self.data / "edge-bus-keys"
        self.bin = folder / "bin"
        self.layout = layout
        self.settings = dict(settings or {})
        """What localrc says; a further run takes what has changed."""
        self._events = folder / "events"
        self._record_commands()
        if layout.node == "compute":
            self.lay_down_keys()

    def environment(self) -> dict[str, str]:
        """What stackrc, devstack's libraries and local.conf have set before the plugin comes."""
        host = COMPUTE if self.layout.node == "compute" else CONTROLLER
        known = {
            "CELLSV2_SETUP": self.layout.cells,
            "CINDER_SERVICE_HOST": CONTROLLER,
            "CINDER_SERVICE_PROTOCOL": "http",
            "DATA_DIR": str(self.data),
            "DISABLED_SERVICES": "" if self.layout.rabbit else "rabbit",
            "ENABLED_SERVICES": self.layout.services,
            "EVENTS": str(self._events),
            "GLANCE_URL": f"http://{CONTROLLER}/image",
            "HOST_IP": host,
            "KEYSTONE_SERVICE_URI": f"http://{CONTROLLER}/identity",
            "LOCAL_CONF": str(self.folder / "local.conf"),
            "NEUTRON_ENDPOINT_SERVICE_NAME": "networking",
            "NOVA_BIN_DIR": str(self.bin),
            "NOVA_CONF_DIR": str(self.folder / "etc"),
            "NOVA_CPU_CELL": "1",
            "NOVA_NUM_CELLS": "1",
            "NUMBER_FAKE_NOVA_COMPUTE": "1",
            "PATH": os.environ["PATH"],
            "PLACEMENT_SERVICE_HOST": CONTROLLER,
            "PLACEMENT_SERVICE_PROTOCOL": "http",
            "Q_PROTOCOL": "http",
            "SERVICE_GRACEFUL_SHUTDOWN_TIMEOUT": "5",
            "SERVICE_HOST": CONTROLLER,
            "SSL_BUNDLE_FILE": str(self.data / "ca-bundle.pem"),
            "STACK_USER": getpass.getuser(),
            "VIRT_DRIVER": "libvirt",
        }
        if self.layout.rabbit:
            known |= {"RABBIT_HOST": CONTROLLER, "RABBIT_PASSWORD": "secret"}
        if self.layout.guard:
            known["EDGE_BUS_REST_GUARD"] = "True"
        return known | self.settings

    def local_conf(self, phase: str, file: str, *lines: str) -> None:
        """Have local.conf say *lines*, each of section, option and value, for a file."""
        said = self.folder / "local.conf" / phase / file
        said.parent.mkdir(parents=True, exist_ok=True)
        said.write_text("".join(f"{line}\n" for line in lines))

    def lay_down_keys(self) -> None:
        """Give a compute what the controller would have made for it."""
        (self.keys / "endpoints").mkdir(parents=True)
        (self.keys / "endpoints" / "controller.pub").touch()
        (self.keys / f"compute-{HOST}.key").touch()

    def attempt(self, *steps: str) -> subprocess.CompletedProcess[str]:
        """Run the steps in one shell, whatever becomes of them."""
        return subprocess.run(
            ["bash", str(_HARNESS), *steps],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )

    def run(self, *steps: str) -> None:
        """Run the steps in one shell, to their end."""
        done = self.attempt(*steps)
        assert done.returncode == 0, done.stdout + done.stderr

    def conf(self, name: str) -> dict[str, dict[str, str]]:
        """The options of a file in nova's folder, by section."""
        parser = configparser.RawConfigParser(default_section="no default")
        parser.read_string((self.folder / "etc" / name).read_text())
        return {section: dict(parser[section]) for section in parser.sections()}

    def has(self, name: str) -> bool:
        """Whether nova's folder has the file."""
        return (self.folder / "etc" / name).exists()

    def events(self, kind: str = "") -> list[str]:
        """What happened, in order; only what begins with *kind*, without it, if that is given."""
        lines = self._events.read_text().splitlines() if self._events.exists() else []
        if not kind:
            return lines
        return [line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} ")]

    def processes(self) -> dict[str, str]:
        """The command line of each service that was run."""
        return dict(line.split(" ", 1) for line in self.events("run_process"))

    def functions(self, step: int) -> str:
        """The definitions of the functions that may be replaced, after that step."""
        return pathlib.Path(f"{self._events}.functions-{step}").read_text()

    def _record_commands(self) -> None:
        """Make a nova-edge-bus that says how it was called, and the files of a key."""
        self.bin.mkdir(parents=True)
        program = self.bin / "nova-edge-bus"
        program.write_text(_RECORDER)
        program.chmod(0o755)
