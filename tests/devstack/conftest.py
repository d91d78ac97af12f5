# SPDX-License-Identifier: Apache-2.0
"""Machines for the tests of the devstack plugin."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests.devstack.machine import Layout
from tests.devstack.machine import Machine

MakeMachine = Callable[..., Machine]


@pytest.fixture
def make_machine(tmp_path: pathlib.Path) -> MakeMachine:
    """Make a machine: make_machine(layout, NAME=VALUE...) with settings from local.conf."""
    made = 0

    def make(layout: Layout | None = None, **settings: str) -> Machine:
        nonlocal made
        made += 1
        return Machine(tmp_path / f"machine-{made}", layout or Layout(), settings)

    return make
