# SPDX-License-Identifier: Apache-2.0
"""oslo.messaging on RabbitMQ and on the edge bus, side by side: a measurement, not a test."""
