# SPDX-License-Identifier: Apache-2.0
"""The samples for nova's own units and for the kernel: systemd takes them, they fit the code."""

from __future__ import annotations

import configparser
import pathlib
import shutil
import subprocess

import pytest

from nova_edge_bus import opts
from nova_edge_bus.cli import main
from nova_edge_bus.endpoint import server

ROOT = pathlib.Path(__file__).resolve().parents[1]
DROP_INS = sorted((ROOT / "etc" / "systemd").glob("*.d/*.conf"))
OPTIONS = {opt.name: opt for _, options in opts.list_opts() for opt in options}
FLEET = 40_000
UNIT = "[Unit]\nDescription=nova\n[Service]\nExecStart=/bin/true\n"


def sections(path: pathlib.Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


def environment(path: pathlib.Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("Environment=")]
    return dict(line.removeprefix("Environment=").split("=", 1) for line in lines)


@pytest.mark.parametrize("path", DROP_INS, ids=lambda path: path.parent.name)
def test_the_environment_names_options_and_their_defaults(path: pathlib.Path) -> None:
    found = environment(path)
    assert found
    for variable, value in found.items():
        name = variable.removeprefix("OS_EDGE_BUS__").lower()
        assert variable.isupper()
        assert str(OPTIONS[name].default) == value


@pytest.mark.parametrize("path", DROP_INS, ids=lambda path: path.parent.name)
def test_the_folder_of_the_journals_is_made_for_nova_alone(path: pathlib.Path) -> None:
    service = sections(path)["Service"]
    assert f"/var/lib/{service['StateDirectory']}" == str(OPTIONS["journal_dir"].default)
    assert service["StateDirectoryMode"] == "0700"


def test_nova_compute_starts_after_the_guard_and_without_it() -> None:
    (path,) = (path for path in DROP_INS if "compute" in path.parent.name)
    unit = sections(path)["Unit"]
    assert unit["Wants"] == unit["After"] == "nova-edge-bus-rest-guard.service"
    assert "Requires" not in unit
    assert (ROOT / "etc" / "systemd" / unit["After"]).exists()


def test_a_conductor_that_hosts_has_the_files_for_its_sessions() -> None:
    (path,) = (path for path in DROP_INS if "conductor" in path.parent.name)
    args = main.make_parser().parse_args(["endpoint", "--listen", "tcp://*:5570"])
    limit = int(sections(path)["Service"]["LimitNOFILE"])
    assert limit >= files(args.max_sessions)


def test_the_kernel_lets_a_fleet_in() -> None:
    text = (ROOT / "etc" / "sysctl.d" / "nova-edge-bus.conf").read_text()
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and line[0] != "#")
    values = {name.strip(): int(value) for name, _, value in lines}
    assert values["net.core.somaxconn"] >= server._BACKLOG
    assert values["fs.nr_open"] >= files(FLEET)


def files(sessions: int) -> int:
    """What an endpoint of so many sessions opens, with those who are not let in, and its own."""
    return sessions + sessions // 4 + 64


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
@pytest.mark.parametrize("path", DROP_INS, ids=lambda path: path.parent.name)
def test_systemd_understands_the_drop_in(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    unit = tmp_path / path.parent.name.removesuffix(".d")
    unit.write_text(UNIT)
    folder = tmp_path / path.parent.name
    folder.mkdir()
    shutil.copy(path, folder)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
