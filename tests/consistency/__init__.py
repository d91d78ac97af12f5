# SPDX-License-Identifier: Apache-2.0
"""Whether what processes have seen and what the centre has done fit together.

A run writes a history, a pure checker judges it; doc/source/consistency.rst says what is claimed.
"""
