# SPDX-License-Identifier: Apache-2.0
"""What local.conf says stays, and the documentation tells of every setting."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.devstack.conftest import MakeMachine
from tests.devstack.machine import Layout

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = (ROOT / "devstack" / "settings").read_text()
PAGE = (ROOT / "doc" / "source" / "devstack.rst").read_text()
CHOSEN = [
    "edge_bus link_timeout 30",
    "edge_bus journal_dir /srv/journals",
    "edge_bus curve_dir /srv/keys",
    "edge_bus curve_key_file /srv/nova.key",
    "edge_bus autonomy off",
]


@pytest.mark.parametrize("cells", ["superconductor", "singleconductor"])
@pytest.mark.parametrize("file", ["nova.conf", "nova-cpu.conf"])
def test_options_of_the_bus_from_local_conf_stay(
    make_machine: MakeMachine, cells: str, file: str
) -> None:
    machine = make_machine(Layout(cells=cells))
    machine.local_conf("post-config", file, *CHOSEN)
    machine.run("stack")
    # nova-cpu.conf begins as a copy of nova.conf.
    for each in {file, "nova-cpu.conf"}:
        assert machine.conf(each)["edge_bus"] == dict(line.split()[1:] for line in CHOSEN)


@pytest.mark.parametrize("cells", ["superconductor", "singleconductor"])
def test_what_local_conf_says_of_the_guard_s_options_stays(
    make_machine: MakeMachine, cells: str
) -> None:
    chosen = [
        "placement endpoint_override http://127.0.0.1:9000/p",
        "placement timeout 5",
        "placement connect_retries 9",
        "neutron auth_url http://keystone.example/",
        "glance num_retries 7",
        "cinder endpoint_template http://cinder.example/",
        "DEFAULT sync_power_state_interval 9",
        "DEFAULT running_deleted_instance_poll_interval 9",
        "DEFAULT graceful_shutdown_timeout 9",
    ]
    machine = make_machine(Layout(cells=cells, guard=True))
    machine.local_conf("post-config", "nova-cpu.conf", *chosen)
    machine.run("stack")
    conf = machine.conf("nova-cpu.conf")
    for line in chosen:
        section, option, value = line.split()
        assert conf[section][option] == value


def test_a_longer_graceful_shutdown_stays(make_machine: MakeMachine) -> None:
    machine = make_machine(Layout(guard=True), SERVICE_GRACEFUL_SHUTDOWN_TIMEOUT="60")
    machine.run("stack")
    assert machine.conf("nova-cpu.conf")["DEFAULT"]["graceful_shutdown_timeout"] == "60"


def test_the_port_of_the_guard(make_machine: MakeMachine) -> None:
    machine = make_machine(Layout(guard=True), EDGE_BUS_REST_GUARD_PORT="7000")
    machine.run("stack")
    url = machine.conf("nova-cpu.conf")["placement"]["endpoint_override"]
    assert url == "http://127.0.0.1:7001/placement"
    command = machine.processes()["edge-bus-rest-guard"]
    assert "--listen 127.0.0.1:7001 --upstream placement=" in command


def documented() -> dict[str, str]:
    """The settings in the page's table, with their defaults."""
    row = r"^   \* - ``(EDGE_BUS_\w+)``\n     - (?:none|``(.+)``)$"
    return dict(re.findall(row, PAGE, re.MULTILINE))


def test_the_page_has_every_setting_and_its_default() -> None:
    plain = re.findall(r"^ *(EDGE_BUS_\w+)=\$\{\1:-(.*)\}$", SETTINGS, re.MULTILINE)
    switches = re.findall(r"^(EDGE_BUS_\w+)=\$\(trueorfalse (\w+) \1\)$", SETTINGS, re.MULTILINE)
    # The address of EDGE_BUS_LISTEN has a line for IPv6 first.
    assert documented() == dict(plain) | dict(switches)
    assert set(documented()) == set(re.findall(r"^ *(EDGE_BUS_\w+)=", SETTINGS, re.MULTILINE))


def test_the_page_names_no_setting_that_there_is_not() -> None:
    assert set(re.findall(r"EDGE_BUS_\w+", PAGE)) == set(documented())
