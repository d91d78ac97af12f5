# SPDX-License-Identifier: Apache-2.0
"""Nova cell databases on each kind of server, with the tables of the bus."""

from __future__ import annotations

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy
from nova.db.main import models

from nova_edge_bus.cell import sync
from tests.unit.snapshot import centre as centres

_LONG_INDEX = "migrations_by_host_nodes_and_status_idx"
SERVERS = {
    "mariadb": "mysql+pymysql://root@127.0.0.1:3306/",
    "postgresql": "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres",
}


def _server(kind: str) -> sqlalchemy.Engine:
    """An engine on the server itself; skips, or fails where CI=true, when there is none."""
    engine = sqlalchemy.create_engine(SERVERS[kind], isolation_level="AUTOCOMMIT")
    try:
        with engine.connect():
            return engine
    except sqlalchemy.exc.OperationalError as error:
        reason = f"no {kind} on 127.0.0.1: {error.orig}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session", params=["sqlite", *SERVERS])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a nova cell database without rows, made anew for this run."""
    centres.prepare()
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('cell') / 'cell.sqlite'}"
        return
    server = _server(request.param)
    name = f"edge_bus_test_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield server.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")
        server.dispose()


@contextlib.contextmanager
def _without_long_index() -> Iterator[None]:
    """Nova's migrations shorten the columns of this index for MariaDB; its models do not."""
    indexes = models.Migration.__table__.indexes
    (index,) = (each for each in indexes if each.name == _LONG_INDEX)
    indexes.discard(index)
    try:
        yield
    finally:
        indexes.add(index)


@pytest.fixture(scope="session")
def cell(database: str) -> Iterator[centres.Centre]:
    """A centre on the database, whose tables and the bus's are made."""
    made = centres.Centre(pathlib.Path("unused"), database)
    with _without_long_index():
        made.create()
    sync.sync(database)
    yield made
    made.close()


@pytest.fixture
def centre(cell: centres.Centre) -> centres.Centre:
    """The centre; tests make rows of their own in it."""
    return cell
