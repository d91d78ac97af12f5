# SPDX-License-Identifier: Apache-2.0
"""What is installed from the built archives, not from the checkout."""

import configparser
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist"
)


def run(*command: str | pathlib.Path, cwd: pathlib.Path) -> str:
    """Run a command outside the checkout and return what it printed; fail with what it said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the source archive and the wheel that was built from it.

    Built from a copy: setuptools keeps what it once saw in build/ and would ship removed modules.
    """
    folder = tmp_path_factory.mktemp("archives")
    shutil.copytree(ROOT, folder / "checkout", ignore=LEFT_BEHIND)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    run(*build, folder / "checkout", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(archives: pathlib.Path) -> pathlib.Path:
    (path,) = archives.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(
    wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, pathlib.Path]:
    """The Python of a new environment that has only the wheel, and its site-packages.

    The requirements come from this environment's site-packages through the path alone, so that its
    editable install of the checkout stays out of sight.
    """
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", wheel, cwd=environment)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = environment / "lib" / version / "site-packages"
    (site_packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, site_packages


def test_wheel_holds_the_package_and_nothing_beside_it(wheel: pathlib.Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    package = ROOT / "nova_edge_bus"
    kinds = {".py", ".typed", ".zdict", ".html", ".css", ".js"}
    kept = [path for path in package.rglob("*") if path.suffix in kinds]
    assert shipped == {str(path.relative_to(ROOT)) for path in kept}
    assert {"nova_edge_bus/py.typed", "nova_edge_bus/endpoint/fleet-page/fleet.js"} <= shipped


def test_wheel_carries_the_licence_and_the_entry_points(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        licence = archive.read(f"{info}/licenses/LICENSE")
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(f"{info}/entry_points.txt").decode())
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert {section: dict(entry_points[section]) for section in entry_points.sections()} == {
        "console_scripts": {"nova-edge-bus": "nova_edge_bus.cli.main:main"},
        "oslo.config.opts": {"nova_edge_bus": "nova_edge_bus.opts:list_opts"},
        "oslo.messaging.drivers": {"edgebus": "nova_edge_bus.driver:EdgeBusDriver"},
    }


def test_source_archive_can_run_the_tests(archives: pathlib.Path) -> None:
    (path,) = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", ".ci/run", "HACKING.rst", "tests/conftest.py", "doc/source/conf.py"}
    wanted |= {".shellcheckrc", "devstack/plugin.sh", "tests/devstack/harness/machine.sh"}
    assert wanted <= names


def test_installed_wheel_is_imported_and_knows_its_version(
    installed: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    python, site_packages = installed
    code = "import nova_edge_bus as n; print(n.__file__, n.__version__)"
    file, version = run(python, "-c", code, cwd=tmp_path).split()
    assert pathlib.Path(file).is_relative_to(site_packages)
    assert (site_packages / f"nova_edge_bus-{version}.dist-info").is_dir()


def test_installed_command_runs(
    installed: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    python, site_packages = installed
    printed = run(python.with_name("nova-edge-bus"), "--version", cwd=tmp_path)
    (info,) = site_packages.glob("nova_edge_bus-*.dist-info")
    assert printed.split()[-1] == info.stem.partition("-")[2]


def test_setup_cfg_names_the_project_the_way_devstack_reads_it() -> None:
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert f"name = {name}" in (ROOT / "setup.cfg").read_text().splitlines()
