# SPDX-License-Identifier: Apache-2.0
"""Two conductors, two endpoints, and a failure at every step of an entry's life.

Every step is taken with every failure, none is left to chance. At the end each entry has had its
effect once and in the order of its group, and another group has gone on: told by triggers of the
database that nova's own objects have written to.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import pathlib
import shutil
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import pytest

from nova_edge_bus.cell import sync
from tests.faults import effects
from tests.faults import failover
from tests.faults import steps
from tests.faults.failover import Case
from tests.faults.failover import Failure
from tests.nova.database import MariadbDatabases
from tests.unit.snapshot import centre as centres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GROUP = 20
_IN_DOUBT = ("shipped", "dispatched", "part 1 committed", "answered")
"""Steps at which the sender cannot know what has happened to the entry."""


def _each(*failures: Failure) -> list[Case]:
    return [Case(failure, step) for failure, step in itertools.product(failures, steps.STEPS)]


def _in_doubt(*failures: Failure, **more: int) -> list[Case]:
    named = [steps.BY_NAME[name] for name in _IN_DOUBT]
    return [Case(failure, step, **more) for failure, step in itertools.product(failures, named)]


OTHERS = [failure for failure in Failure if failure is not Failure.CONDUCTOR_KILLED]
AMID_A_GROUP = _in_doubt(*Failure, entries=GROUP, trapped=11)
EVERY_RUN = [
    *_each(Failure.CONDUCTOR_KILLED),
    *_in_doubt(*OTHERS),
    *(case for case in AMID_A_GROUP if case.step.name == "dispatched"),
]
ALL = [*_each(*Failure), *AMID_A_GROUP]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case: the effects of its groups, or what went wrong before."""

    found: list[list[str]]
    error: str = ""


def _cases(cases: Iterable[Case], *marks: Any) -> list[Any]:
    return [pytest.param(case, id=case.name, marks=marks) for case in cases]


def _run(
    directory: pathlib.Path, make: Callable[[str], str], cases: list[Case]
) -> dict[Case, Outcome]:
    """Run the cases in one scene each after the other, and look at the end what each has done."""
    outcomes: dict[Case, Outcome] = {}
    groups: dict[Case, list[str]] = {}
    name = cases[0].failure.name.lower()
    scene = failover.Scene(directory / name, make(name))
    try:
        for case in cases:
            groups[case] = scene.run(case)
    except AssertionError as error:
        outcomes = dict.fromkeys(cases, Outcome([], str(error)))
    finally:
        for case in groups:
            outcomes[case] = Outcome([scene.effects.of(group) for group in groups[case]])
        scene.close()
    return outcomes


def _run_all(
    directory: pathlib.Path, make: Callable[[str], str], cases: list[Case]
) -> dict[Case, Outcome]:
    """Run each sort of failure in a scene of its own, all at the same time."""
    by_failure = [[each for each in cases if each.failure is failure] for failure in Failure]
    scenes = [some for some in by_failure if some]
    outcomes: dict[Case, Outcome] = {}
    with concurrent.futures.ThreadPoolExecutor(len(scenes)) as threads:
        for some in threads.map(lambda cases: _run(directory, make, cases), scenes):
            outcomes |= some
    return outcomes


def _selected(request: pytest.FixtureRequest, name: str) -> list[Case]:
    """The cases of a test of this module that are to be run."""
    return [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and getattr(item, "originalname", "") == name
    ]


@pytest.fixture(scope="module", autouse=True)
def nova() -> None:
    centres.prepare()


@pytest.fixture(scope="module")
def on_sqlite(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[Case, Outcome]:
    directory = tmp_path_factory.mktemp("failover")
    template = directory / "template.sqlite"
    centre = centres.Centre(template)
    centre.create()
    centre.close()
    sync.sync(centre.url)
    effects.watch(centre.url)

    def make(name: str) -> str:
        path = directory / f"{name}.sqlite"
        shutil.copy(template, path)
        return f"sqlite:///{path}?timeout=1"

    return _run_all(directory, make, _selected(request, "test_effect_is_once_and_in_order"))


@pytest.fixture(scope="module")
def on_mariadb(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, mariadb_url: str
) -> Iterator[dict[Case, Outcome]]:
    made: list[MariadbDatabases] = []

    def make(name: str) -> str:
        databases = MariadbDatabases()
        made.append(databases)
        databases.create("none:///")
        effects.watch(databases.url("nova_cell1"))
        return databases.url("nova_cell1")

    directory = tmp_path_factory.mktemp("failover")
    name = "test_effect_is_once_and_in_order_on_mariadb"
    try:
        yield _run_all(directory, make, _selected(request, name))
    finally:
        for databases in made:
            databases.drop()


@pytest.mark.parametrize(
    "case",
    _cases(EVERY_RUN) + _cases((case for case in ALL if case not in EVERY_RUN), pytest.mark.soak),
)
def test_effect_is_once_and_in_order(on_sqlite: dict[Case, Outcome], case: Case) -> None:
    assert not on_sqlite[case].error
    assert on_sqlite[case].found in case.expected


@pytest.mark.mariadb
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", _cases(ALL, pytest.mark.soak))
def test_effect_is_once_and_in_order_on_mariadb(
    on_mariadb: dict[Case, Outcome], case: Case
) -> None:
    assert not on_mariadb[case].error
    assert on_mariadb[case].found in case.expected


def test_each_step_is_a_step_of_its_own() -> None:
    assert len(steps.BY_NAME) == len(steps.STEPS)
