# SPDX-License-Identifier: Apache-2.0
"""A day cut off loses nothing, doubles nothing, and leaves a short backlog."""

import pathlib

import pytest

from tests.nova import compressed_day

pytestmark = [pytest.mark.nova, pytest.mark.slow]

_BESIDES = 4
"""Entries beside the instances' saves: heartbeats and a resource audit, merged or under way."""


@pytest.mark.parametrize(
    ("share", "backend"),
    [
        pytest.param(20, "sqlite"),
        pytest.param(1, "sqlite", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
        pytest.param(
            1,
            "mariadb",
            marks=[pytest.mark.soak, pytest.mark.mariadb, pytest.mark.timeout(3600)],
        ),
    ],
)
def test_a_day_cut_off_leaves_the_tables_as_they_were_saved(
    share: int, backend: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    if backend == "mariadb":
        request.getfixturevalue("mariadb_url")
    plan = compressed_day.Plan().share(share)
    day = compressed_day.run(tmp_path, plan, backend)
    print(compressed_day.table(day))
    assert not day.wrong
    assert plan.saves <= day.pending <= plan.saves + _BESIDES
    assert day.merged >= plan.heartbeats + plan.audits - _BESIDES
