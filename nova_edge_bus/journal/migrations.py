# SPDX-License-Identifier: Apache-2.0
"""Brings a journal of any older version to this one, one committed step a version.

To change the schema: change schema.py, raise ``schema.VERSION`` and add the step that takes a
journal of the version before to the new one. A step runs in the transaction that also writes the
new version number, so a crash leaves the journal wholly at one version or the other.
"""

from collections.abc import Callable

import sqlalchemy

from nova_edge_bus import errors
from nova_edge_bus.journal import database
from nova_edge_bus.journal import schema

Step = Callable[[sqlalchemy.Connection], None]


def _add_snapshot(connection: sqlalchemy.Connection) -> None:
    schema.snapshot.create(connection)


def _count_forwarded(connection: sqlalchemy.Connection) -> None:
    connection.execute(schema.counters.insert(), {"name": "forwarded", "value": 0})


def _name_writers(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE inbox ADD COLUMN identity TEXT DEFAULT '' NOT NULL")


STEPS: dict[int, Step] = {2: _add_snapshot, 3: _count_forwarded, 4: _name_writers}
"""The step that leads *to* a version, for each version after the first."""


def upgrade(db: database.Database) -> int:
    """Create the tables of a new file or migrate those of an older version.

    :returns: the version that was found, 0 for a new file
    :raises JournalTooNew: when the file is of a version that this package does not know
    :raises JournalError: when the file is a database but not a journal
    """
    found = int(db.pragma("user_version"))
    if found > schema.VERSION:
        raise too_new(db.path, found)
    _check_ours(db, found)
    if found == 0:
        _in_transaction(db, _create, schema.VERSION)
    for version in range(found + 1, schema.VERSION + 1) if found else ():
        _in_transaction(db, STEPS[version], version)
    return found


def too_new(path: str, version: int) -> errors.JournalTooNew:
    """Return the error for a journal of a version that this package does not know."""
    return errors.JournalTooNew(
        f"journal {path} has version {version}, this package knows {schema.VERSION}; "
        "install the newer nova-edge-bus again"
    )


def _check_ours(db: database.Database, found: int) -> None:
    application = int(db.pragma("application_id"))
    tables = int(db.pragma("schema_version"))
    fresh = found == 0 and application == 0 and tables == 0
    if not fresh and application != schema.APPLICATION_ID:
        raise errors.JournalError(
            f"{db.path} is a database of another application (id {application:#x}), "
            "not a journal; see [edge_bus] journal_dir"
        )


def _create(connection: sqlalchemy.Connection) -> None:
    schema.metadata.create_all(connection, checkfirst=False)
    connection.execute(
        schema.counters.insert(), [{"name": name, "value": 0} for name in schema.COUNTERS]
    )
    connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")


def _in_transaction(db: database.Database, step: Step, version: int) -> None:
    db.begin()
    try:
        step(db.connection)
        db.connection.exec_driver_sql(f"PRAGMA user_version = {version}")
    except BaseException:
        db.rollback()
        raise
    db.commit()
