# SPDX-License-Identifier: Apache-2.0
"""The benchmarks measure their own bus, whatever keys and options this machine has for another."""

import contextlib
import pathlib
import sys
import urllib.parse

import pytest

from bench import backends
from bench import places
from bench import processes
from tests.nova import bus as nova_bus

WITHOUT_KEYS = f"--curve-dir\0{places.NO_KEYS}\0"


def test_an_endpoint_and_its_peers_look_for_keys_where_none_are(tmp_path: pathlib.Path) -> None:
    bus = backends.EdgeBus(tmp_path, {})
    bus.open()
    with contextlib.closing(bus):
        command = pathlib.Path(f"/proc/{bus.endpoint.pid}/cmdline").read_text()
        place = bus.place("sender")
    assert WITHOUT_KEYS in command
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(place.url).query)
    assert query["curve_dir"] == [str(places.NO_KEYS)]
    assert not places.NO_KEYS.exists()


def test_keys_that_are_asked_for_are_used(tmp_path: pathlib.Path) -> None:
    bus = backends.EdgeBus(tmp_path, {"curve_dir": str(tmp_path)})
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(bus.place("sender").url).query)
    assert query["curve_dir"] == [str(tmp_path)]


def test_a_nova_on_the_edge_bus_looks_for_keys_where_none_are(tmp_path: pathlib.Path) -> None:
    bus = nova_bus.EdgeBus()
    assert str(places.NO_KEYS) in bus.endpoint_options
    for far in (False, True):
        assert bus.options(tmp_path, far=far)["edge_bus"]["curve_dir"] == places.NO_KEYS


def test_children_do_not_see_options_in_the_environment(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_EDGE_BUS__CURVE_DIR", "/etc/nova/edge-bus")
    monkeypatch.setenv("OS_EDGE", "stays")
    program = "import os; print(*(name for name in os.environ if name.startswith('OS_EDGE')))"
    child = processes.Child("printer", [sys.executable, "-c", program], tmp_path / "log")
    try:
        assert child.line(30.0).split() == ["OS_EDGE"]
    finally:
        child.stop()
