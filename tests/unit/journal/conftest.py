# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the journal's tests."""

import pathlib
from collections.abc import Iterator

import pytest

from nova_edge_bus.journal import journal
from tests.unit.journal import make


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where a journal goes."""
    return tmp_path / "host-1.nova-compute-0.db"


@pytest.fixture
def clock() -> make.Clock:
    """The wall clock of :func:`it`."""
    return make.Clock()


@pytest.fixture
def it(path: pathlib.Path, clock: make.Clock) -> Iterator[journal.Journal]:
    """An open journal, the thing under test."""
    with make.opened(path, clock=clock) as opened:
        yield opened
