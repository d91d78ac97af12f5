# SPDX-License-Identifier: Apache-2.0
"""The journal: one SQLite file per process that owns what has been sent and what was received."""
