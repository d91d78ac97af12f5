# SPDX-License-Identifier: Apache-2.0
"""The wire protocol without any I/O: bytes and the time go in, messages and bytes come out."""
