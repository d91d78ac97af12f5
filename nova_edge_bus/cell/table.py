# SPDX-License-Identifier: Apache-2.0
"""The tables of a cell's database."""

import hashlib

import sqlalchemy
from sqlalchemy import BigInteger
from sqlalchemy import Column
from sqlalchemy import SmallInteger
from sqlalchemy import String

metadata = sqlalchemy.MetaData()

inbox = sqlalchemy.Table(
    "edge_bus_inbox",
    metadata,
    # Sixteen hexadecimal digits: every database compares these alike.
    Column("outbox", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("part", SmallInteger, primary_key=True, autoincrement=False),
    mysql_engine="InnoDB",
    mysql_charset="ascii",
)
"""One row for each commit that an entry has caused; written by that commit.

An entry that was refused has one in the place of the commit that it was refused, and one with a
``part`` of -1.
"""

floors = sqlalchemy.Table(
    "edge_bus_floor",
    metadata,
    Column("outbox", String(16), primary_key=True),
    Column("stream", String(16), primary_key=True),
    Column("floor", BigInteger, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="ascii",
)
"""By outbox and stream, the seq below which every entry is settled and has no rows any more.

A stream is known by the first half of a hash of its address, see :func:`stream_of`. There is a row
of it from the first audit on, and one of :func:`unaudited`, for senders that ask for no audits.
In the row of :data:`EPOCHS` stands the newest epoch of the outbox that has had an effect.
"""

UNAUDITED = "-"
"""What these names begin with, and no hash does."""

EPOCHS = "epoch"
"""In the place of a stream; no hash is written like that."""


def stream_of(address: str) -> str:
    """Return what the tables know a stream by."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def unaudited(stream: str) -> str:
    """Return what the floor of a stream stands under that was raised without an audit."""
    return UNAUDITED + stream[1:]
