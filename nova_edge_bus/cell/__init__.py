# SPDX-License-Identifier: Apache-2.0
"""What this package keeps in the database of a nova cell, beside nova's own tables."""
