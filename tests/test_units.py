# SPDX-License-Identifier: Apache-2.0
"""The files for systemd start what there is, where the options expect it."""

from __future__ import annotations

import configparser
import pathlib
import shlex
import shutil
import subprocess

import pytest

from nova_edge_bus import opts
from nova_edge_bus.cli import main
from nova_edge_bus.endpoint import listening
from nova_edge_bus.monitoring import health

ROOT = pathlib.Path(__file__).resolve().parents[1]
UNITS = sorted((ROOT / "etc" / "systemd").glob("*.service"))
DEFAULTS = {opt.name: opt.default for _, options in opts.list_opts() for opt in options}


def service(unit: pathlib.Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser["Service"]


def command(unit: pathlib.Path) -> list[str]:
    return shlex.split(service(unit)["ExecStart"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_that_there_is(unit: pathlib.Path) -> None:
    program, *arguments = command(unit)
    assert pathlib.Path(program).name == "nova-edge-bus"
    args = main.make_parser().parse_args(arguments)
    assert callable(args.run)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_waits_for_a_unit_and_watches_it(unit: pathlib.Path) -> None:
    options = service(unit)
    assert (options["Type"], options["Restart"]) == ("notify", "always")
    # The loop turns every second; a machine that is slow must not be taken for a stuck daemon.
    assert int(options["WatchdogSec"]) >= 3 * health.FROZEN_SECONDS
    assert "AF_UNIX" in options["RestrictAddressFamilies"].split()


def test_the_endpoint_has_the_files_that_its_sessions_take() -> None:
    (unit,) = (unit for unit in UNITS if "endpoint" in unit.name)
    args = main.make_parser().parse_args(command(unit)[1:])
    limit = int(service(unit)["LimitNOFILE"])
    assert limit >= args.max_sessions + args.max_sessions // 4 + 64
    assert [listening.split(text)[1] for text in args.listen] == [5570]


def test_the_folders_are_those_of_the_options() -> None:
    text = (ROOT / "etc" / "tmpfiles.d" / "nova-edge-bus.conf").read_text()
    made = {line.split()[1]: line.split()[2] for line in text.splitlines() if line[:1] == "d"}
    assert made == {str(DEFAULTS["journal_dir"]): "0700", str(DEFAULTS["curve_dir"]): "0700"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_the_unit(unit: pathlib.Path, tmp_path: pathlib.Path) -> None:
    there = tmp_path / unit.name
    here = shutil.which("nova-edge-bus")
    assert here is not None
    text = unit.read_text().replace("/usr/local/bin/nova-edge-bus", here)
    there.write_text(text.replace("User=nova\nGroup=nova\n", ""))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(there)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
