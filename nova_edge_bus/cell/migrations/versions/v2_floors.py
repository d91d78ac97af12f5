# SPDX-License-Identifier: Apache-2.0
"""the floors: what has been folded away"""

import sqlalchemy
from alembic import op

revision = "v2"
down_revision = "v1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "edge_bus_floor",
        sqlalchemy.Column("outbox", sqlalchemy.String(16), primary_key=True),
        sqlalchemy.Column("stream", sqlalchemy.String(16), primary_key=True),
        sqlalchemy.Column("floor", sqlalchemy.BigInteger, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="ascii",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("edge_bus_floor")
