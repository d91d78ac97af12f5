# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.unit.autonomy import site as sites
from tests.unit.snapshot import centre as centres
from tests.unit.snapshot.conftest import centre as centre
from tests.unit.snapshot.conftest import empty_database as empty_database


@pytest.fixture
def site(centre: centres.Centre, tmp_path: pathlib.Path) -> Iterator[sites.Site]:
    """An edge host with a journal, linked to a real nova database."""
    made = sites.Site(centre, tmp_path / "edge-1.nova-compute-0.db")
    yield made
    made.close()
