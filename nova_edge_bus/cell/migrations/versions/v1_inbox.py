# SPDX-License-Identifier: Apache-2.0
"""the inbox table: which entries have had their effect"""

import sqlalchemy
from alembic import op

revision = "v1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "edge_bus_inbox",
        sqlalchemy.Column("outbox", sqlalchemy.String(16), primary_key=True),
        sqlalchemy.Column("seq", sqlalchemy.BigInteger, primary_key=True, autoincrement=False),
        sqlalchemy.Column("part", sqlalchemy.SmallInteger, primary_key=True, autoincrement=False),
        mysql_engine="InnoDB",
        mysql_charset="ascii",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("edge_bus_inbox")
