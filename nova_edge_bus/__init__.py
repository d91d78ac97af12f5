# SPDX-License-Identifier: Apache-2.0
"""An oslo.messaging driver that lets far-edge nova computes outlive their link."""

__version__ = "0.1.0"
