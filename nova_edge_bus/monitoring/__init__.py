# SPDX-License-Identifier: Apache-2.0
"""What operators' tools read over HTTP: metrics, health, and pages that others mount.

The server and its pages run in threads of their own and only ever read. prometheus_client is
imported when the first metrics are asked for, so a process without them does not pay for it.
"""
