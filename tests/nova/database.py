# SPDX-License-Identifier: Apache-2.0
"""Nova's and placement's databases for one stack, made from a cached copy of the migrated schema.

The migrations take longer than all the rest of a start, so their outcome is kept in
$XDG_CACHE_HOME/nova-edge-bus-tests, one directory per version of nova, placement and backend.
"""

from __future__ import annotations

import abc
import contextlib
import importlib.metadata
import os
import pathlib
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile

import sqlalchemy

from nova_edge_bus.cell import sync
from tests.nova import config

NAMES = ("nova_api", "nova_cell0", "nova_cell1", "placement")
CELL0 = "nova_cell0"
CELL1 = "nova_cell1"
_MIGRATION_SECONDS = 300
_MYSQL_LOGIN = ("-h127.0.0.1", "-uroot")


class Databases(abc.ABC):
    """The four databases of a stack."""

    backend: str

    @abc.abstractmethod
    def url(self, name: str) -> str:
        """Return the SQLAlchemy URL of one of NAMES."""

    def create(self, transport_url: str) -> None:
        """Make the databases, with both cells mapped.

        :param transport_url: how API, scheduler and conductor reach the computes of cell1
        """
        template = self._cached_template()
        for name in NAMES:
            self._restore(name, template / name)
        engine = sqlalchemy.create_engine(self.url("nova_api"))
        change = sqlalchemy.text(
            "UPDATE cell_mappings SET database_connection = :database, transport_url = :transport"
            " WHERE name = :name"
        )
        with contextlib.closing(engine.connect()) as connection, connection.begin():
            for cell, database, transport in (
                ("cell0", CELL0, "none:///"),
                ("cell1", CELL1, transport_url),
            ):
                row = {"name": cell, "database": self.url(database), "transport": transport}
                if connection.execute(change, row).rowcount != 1:
                    raise LookupError(f"{cell} is not in cell_mappings of {template}")
        engine.dispose()
        sync.sync(self.url(CELL1))

    def dump(self, name: str, copy: pathlib.Path) -> None:
        """Copy a database of a running stack to a file."""
        self._save(name, copy)

    def put_back(self, name: str, copy: pathlib.Path) -> None:
        """Restore such a copy over the database, as an operator does."""
        self._load(name, copy)

    @abc.abstractmethod
    def drop(self) -> None:
        """Remove what is kept outside the stack's own directory."""

    def _cached_template(self) -> pathlib.Path:
        versions = [f"{each}-{importlib.metadata.version(each)}" for each in _VERSIONED]
        template = _cache_directory() / "-".join([self.backend, *versions])
        if not template.exists():
            template.parent.mkdir(parents=True, exist_ok=True)
            draft = pathlib.Path(tempfile.mkdtemp(dir=template.parent))
            try:
                self._fill_template(draft)
                with contextlib.suppress(OSError):  # another start was faster
                    draft.rename(template)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return template

    def _fill_template(self, template: pathlib.Path) -> None:
        for name in NAMES:
            self._create_empty(name)
        try:
            with tempfile.TemporaryDirectory() as scratch:
                _migrate(self, pathlib.Path(scratch))
            for name in NAMES:
                self._save(name, template / name)
        finally:
            self.drop()

    @abc.abstractmethod
    def _create_empty(self, name: str) -> None: ...

    @abc.abstractmethod
    def _save(self, name: str, copy: pathlib.Path) -> None: ...

    @abc.abstractmethod
    def _restore(self, name: str, copy: pathlib.Path) -> None: ...

    @abc.abstractmethod
    def _load(self, name: str, copy: pathlib.Path) -> None: ...


class SqliteDatabases(Databases):
    """Files in a directory, in WAL mode, which stays with the file."""

    backend = "sqlite"

    def __init__(self, directory: pathlib.Path) -> None:
        """Keep the files in the directory, which is made if need be."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def url(self, name: str) -> str:
        return f"sqlite:///{self._path(name)}"

    def drop(self) -> None:
        pass

    def _path(self, name: str) -> pathlib.Path:
        return self._directory / f"{name}.sqlite"

    def _create_empty(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)
        self._use_wal(name)

    def _save(self, name: str, copy: pathlib.Path) -> None:
        with (
            contextlib.closing(sqlite3.connect(self._path(name))) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)

    def _restore(self, name: str, copy: pathlib.Path) -> None:
        shutil.copy(copy, self._path(name))
        self._use_wal(name)

    def _load(self, name: str, copy: pathlib.Path) -> None:
        with (
            contextlib.closing(sqlite3.connect(copy)) as source,
            contextlib.closing(sqlite3.connect(self._path(name), timeout=60)) as target,
        ):
            source.backup(target)

    def _use_wal(self, name: str) -> None:
        with contextlib.closing(sqlite3.connect(self._path(name))) as connection:
            connection.execute("PRAGMA journal_mode = WAL")


class MariadbDatabases(Databases):
    """Databases of a run's own in the MariaDB server on 127.0.0.1:3306 (root, no password)."""

    backend = "mariadb"

    def __init__(self) -> None:
        """Choose names that no other run uses."""
        self._prefix = f"edge_bus_test_{secrets.token_hex(4)}"

    def url(self, name: str) -> str:
        return f"mysql+pymysql://root@127.0.0.1:3306/{self._database(name)}?charset=utf8mb4"

    def drop(self) -> None:
        for name in NAMES:
            self._execute(f"DROP DATABASE IF EXISTS {self._database(name)}")

    def _database(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def _create_empty(self, name: str) -> None:
        self._execute(f"CREATE DATABASE {self._database(name)} CHARACTER SET utf8mb3")

    def _save(self, name: str, copy: pathlib.Path) -> None:
        command = ["mysqldump", *_MYSQL_LOGIN, "--single-transaction", self._database(name)]
        with copy.open("wb") as dump:
            subprocess.run(command, stdout=dump, check=True, timeout=_MIGRATION_SECONDS)

    def _restore(self, name: str, copy: pathlib.Path) -> None:
        self._create_empty(name)
        self._load(name, copy)

    def _load(self, name: str, copy: pathlib.Path) -> None:
        command = ["mysql", *_MYSQL_LOGIN, self._database(name)]
        with copy.open("rb") as dump:
            subprocess.run(command, stdin=dump, check=True, timeout=_MIGRATION_SECONDS)

    def _execute(self, statement: str) -> None:
        command = ["mysql", *_MYSQL_LOGIN, "-e", statement]
        subprocess.run(command, check=True, timeout=_MIGRATION_SECONDS)


_VERSIONED = ("nova", "openstack-placement")


def _cache_directory() -> pathlib.Path:
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "nova-edge-bus-tests"


def _migrate(databases: Databases, scratch: pathlib.Path) -> None:
    """Run the real migrations and map two cells; create() writes their true URLs."""
    for cell in (CELL0, CELL1):
        nova = config.write(
            scratch / cell / "nova.conf",
            config.databases(databases.url("nova_api"), databases.url(cell)),
        )
        if cell == CELL0:
            manage("nova-manage", nova, "api_db", "sync")
        manage("nova-manage", nova, "db", "sync", "--local_cell")
    manage("nova-manage", nova, "cell_v2", "map_cell0", "--database_connection", "cell0")
    placeholders = ("--transport-url", "fake:///", "--database_connection", "cell1")
    manage("nova-manage", nova, "cell_v2", "create_cell", "--name", "cell1", *placeholders)
    placement = config.write(
        scratch / "placement.conf", config.placement(databases.url("placement"))
    )
    manage("placement-manage", placement, "db", "sync")


def manage(tool: str, configuration: pathlib.Path, *arguments: str) -> None:
    """Run nova-manage or placement-manage.

    :raises RuntimeError: when it fails; the text carries its output
    """
    command = [sys.executable, "-m", "tests.nova.service", tool]
    finished = subprocess.run(
        [*command, "--config-file", str(configuration), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_MIGRATION_SECONDS,
        env={**os.environ, **config.environment()},
    )
    if finished.returncode:
        output = finished.stdout + finished.stderr
        raise RuntimeError(
            f"{tool} {' '.join(arguments)} ended with status {finished.returncode}:\n{output}"
        )
