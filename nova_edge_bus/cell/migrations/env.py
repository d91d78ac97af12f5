# SPDX-License-Identifier: Apache-2.0
"""Alembic's environment: migrates over the connection that it is given."""

from alembic import context

from nova_edge_bus.cell import sync
from nova_edge_bus.cell import table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=table.metadata,
    version_table=sync.VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
