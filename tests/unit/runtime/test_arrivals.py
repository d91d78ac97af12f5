# SPDX-License-Identifier: Apache-2.0
"""What other peers say is counted where operators look."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from nova_edge_bus.protocol import messages
from nova_edge_bus.runtime import arrivals
from nova_edge_bus.runtime import figures


@pytest.mark.parametrize(
    ("code", "expected"), [(messages.Refusal.NO_ROUTE, 3), (messages.Refusal.BUSY, 0)]
)
def test_deliveries_that_nobody_is_there_for_are_counted(code: int, expected: int) -> None:
    counted = figures.Figures()
    own: Any = mock.Mock()
    told = arrivals.Arrivals(own, {}, mock.Mock(), mock.Mock(), counted)
    refusal = messages.Refuse(b"me", b"", messages.Kind.REQUEST, [1, 2, 3], code, "", b"peer")
    told.handlers()[messages.Refuse]("endpoint", refusal, 0.0)
    assert counted.no_route == expected
    own.sender.refused.assert_called_once_with(messages.Kind.REQUEST, [1, 2, 3], code, b"peer")
