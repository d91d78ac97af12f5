# SPDX-License-Identifier: Apache-2.0
"""The endpoint: what every peer dials, hosted by a process of its own or by a conductor."""
