# SPDX-License-Identifier: Apache-2.0
"""What peers and endpoints share of ZeroMQ: one loop that waits on sockets, time and calls."""
