# SPDX-License-Identifier: Apache-2.0
"""The documentation's list of reads is nova-compute's, and says rightly which are answered."""

from __future__ import annotations

import pathlib
import re

import nova
from nova import objects

from nova_edge_bus import contracts
from nova_edge_bus.snapshot import rules
from tests.unit.snapshot import centre

PAGE = pathlib.Path(__file__).parents[3] / "doc" / "source" / "snapshot.rst"
MODULES = (
    "compute/manager.py",
    "compute/resource_tracker.py",
    "compute/utils.py",
    "network/neutron.py",
    "objects/instance.py",
    "objects/migration.py",
    "pci/manager.py",
    "scheduler/client/report.py",
    "service.py",
    "servicegroup/drivers/db.py",
    "virt/block_device.py",
    "virt/imagecache.py",
    "virt/libvirt/driver.py",
)
"""Where nova-compute's reads are made."""


def documented(table: str) -> set[str]:
    text = PAGE.read_text().partition(f".. list-table:: {table}\n")[2]
    rows = re.split(r"\n(?=\S)", text)[0]
    return set(re.findall(r"\* - ``([\w.]+)``", rows))


def made_by_nova() -> set[str]:
    centre.prepare()
    found = set()
    for module in MODULES:
        source = (pathlib.Path(nova.__file__).parent / module).read_text()
        for name, method in re.findall(r"objects\.(\w+)\.(\w+)\(", source):
            function = getattr(getattr(objects, name, None), method, None)
            arguments = {"objname": name, "objmethod": method}
            message = {"method": "object_class_action_versions", "args": arguments}
            terms = contracts.classify(message, is_call=True)
            if (
                getattr(function, "remotable", False)
                and terms.contract is contracts.Contract.RELAY
            ):
                found.add(f"{name}.{method}")
    return found


def test_answered_reads_are_those_of_the_rules() -> None:
    assert documented("Answered") == {f"{name}.{method}" for name, method in rules.RULES}


def test_every_read_of_nova_compute_is_documented() -> None:
    missing = made_by_nova() - documented("Answered") - documented("Left to the centre")
    assert not missing


def test_reads_left_to_the_centre_are_really_made() -> None:
    assert documented("Left to the centre") <= made_by_nova()
