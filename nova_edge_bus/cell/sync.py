# SPDX-License-Identifier: Apache-2.0
"""Makes the tables of this package in a cell's database, and brings them to this version."""

import contextlib
import pathlib
import threading
from collections.abc import Iterator

import sqlalchemy
from alembic import command
from alembic import config as alembic_config
from alembic import migration
from alembic import script
from alembic import util
from sqlalchemy import exc

from nova_edge_bus import errors

VERSION_TABLE = "edge_bus_version"
_SCRIPTS = str(pathlib.Path(__file__).with_name("migrations"))
_ALEMBIC = threading.Lock()
"""A process has one environment of alembic's, whatever threads there are."""


def pending(url: str) -> list[str]:
    """Return what :func:`sync` would do, oldest first; nothing when the database is current.

    :param url: SQLAlchemy's URL of the cell's database
    :raises CellDatabaseError: when it cannot be reached, or has a newer version of the tables
    """
    with _opened(url) as connection:
        return _pending(connection)


def sync(url: str) -> list[str]:
    """Make or migrate the tables, and return what was done, oldest first.

    :param url: SQLAlchemy's URL of the cell's database
    :raises CellDatabaseError: when it cannot be reached or changed
    """
    configuration = alembic_config.Config()
    configuration.set_main_option("script_location", _SCRIPTS.replace("%", "%%"))
    with _opened(url) as connection:
        steps = _pending(connection)
        configuration.attributes["connection"] = connection
        with _ALEMBIC:
            command.upgrade(configuration, "head")
    return steps


def _pending(connection: sqlalchemy.Connection) -> list[str]:
    context = migration.MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    )
    present = context.get_current_revision()
    try:
        steps = list(script.ScriptDirectory(_SCRIPTS).iterate_revisions("head", present or "base"))
    except (util.CommandError, script.revision.RevisionError):
        raise errors.CellDatabaseError(
            f"the database has version {present} of the bus's tables, which this package does not "
            "know; install the newer nova-edge-bus again"
        ) from None
    return [f"{step.revision} {step.doc}" for step in reversed(steps) if step.revision != present]


@contextlib.contextmanager
def _opened(url: str) -> Iterator[sqlalchemy.Connection]:
    """A transaction on the database; no error says the URL, for it has a password."""
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except (exc.ArgumentError, ImportError) as error:
        raise errors.CellDatabaseError(f"the database URL cannot be used: {error}") from None
    where = engine.url.render_as_string(hide_password=True)
    try:
        with engine.begin() as connection:
            yield connection
    except exc.DBAPIError as error:
        raise errors.CellDatabaseError(f"database {where}: {error.orig}") from None
