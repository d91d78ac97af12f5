# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-edge-bus``, one module a subcommand."""
