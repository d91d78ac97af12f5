# SPDX-License-Identifier: Apache-2.0
"""What the runs share: a process that forks theirs, and fresh cell databases."""

from __future__ import annotations

import itertools
import pathlib
import shutil
import sqlite3
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from nova_edge_bus.cell import sync
from tests.consistency import commits
from tests.consistency import processes
from tests.faults import forker as forkers
from tests.nova.database import MariadbDatabases
from tests.unit.snapshot import centre as centres

MakeDatabase = Callable[[str], str]


@pytest.fixture(scope="module")
def nova() -> None:
    """Nova's objects."""
    centres.prepare()


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[forkers.Forker]:
    """What forks the processes of all runs of a module."""
    made = forkers.Forker(tmp_path_factory.mktemp("logs"), processes.ROLES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def make_sqlite(nova: None, tmp_path_factory: pytest.TempPathFactory) -> MakeDatabase:
    """Makes a cell database in a file, and returns its URL."""
    directory = tmp_path_factory.mktemp("cells")
    template = directory / "template.sqlite"
    centre = centres.Centre(template)
    centre.create()
    centre.close()
    sync.sync(centre.url)
    commits.watch(centre.url)
    # A reader does not keep a writer waiting then.
    with sqlite3.connect(template) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()

    def make(name: str) -> str:
        path = directory / f"{name}.sqlite"
        shutil.copy(template, path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture
def make_mariadb(nova: None, mariadb_url: str) -> Iterator[MakeDatabase]:
    """Makes a cell database in MariaDB, and returns its URL."""
    made: list[MariadbDatabases] = []

    def make(name: str) -> str:
        databases = MariadbDatabases()
        made.append(databases)
        databases.create("none:///")
        commits.watch(databases.url("nova_cell1"))
        return databases.url("nova_cell1")

    yield make
    for databases in made:
        databases.drop()


_numbers = itertools.count(1)


def fresh(directory: pathlib.Path) -> pathlib.Path:
    """A path in a directory that nothing has used."""
    return directory / f"run-{next(_numbers)}"
