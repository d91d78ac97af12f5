# SPDX-License-Identifier: Apache-2.0
"""The inbox table of a cell's database."""

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
"""One row for each commit that an entry has caused; written by that commit."""
