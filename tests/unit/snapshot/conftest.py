# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.unit.snapshot import centre as centres
from tests.unit.snapshot import edge as edges


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A nova cell database without rows; copied for each test, as making it takes a second."""
    centres.prepare()
    path = tmp_path_factory.mktemp("nova") / "empty.sqlite"
    empty = centres.Centre(path)
    empty.create()
    empty.close()
    return path


@pytest.fixture
def centre(empty_database: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[centres.Centre]:
    made = centres.Centre(empty_database).copy(tmp_path / "centre.sqlite")
    yield made
    made.close()


@pytest.fixture
def edge(centre: centres.Centre) -> edges.Edge:
    return edges.Edge(centre)
