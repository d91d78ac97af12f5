# SPDX-License-Identifier: Apache-2.0
"""A run tells each defect that is put into the code of its processes, and by which rule.

The scenarios are short and leave nothing to chance; without a defect they keep to every rule.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Callable

import pytest

from tests.consistency import checker
from tests.consistency import mutants
from tests.consistency.conftest import MakeDatabase
from tests.consistency.conftest import fresh
from tests.consistency.history import History
from tests.consistency.index import Rule
from tests.consistency.index import Violation
from tests.consistency.world import World
from tests.faults import forker as forkers

HOST = "edge-1"
_AT_ONCE = 4
_TRIES = 6
"""A defect needs a moment to show, and a slow process can miss it: a link may be back too soon."""
_PATIENCE = 20.0
"""Seconds that a run waits at most for what a defect may keep pending for ever."""
_MANY = 12
Operation = tuple[str, str, list[str]]


def _saves(
    world: World, count: int, kinds: tuple[str, ...] = ("save", "fault")
) -> list[Operation]:
    """Writes to the first group, in turns of these kinds."""
    group = world.groups[HOST][0]
    return [(kinds[number % len(kinds)], group, ["name"]) for number in range(count)]


def _read(world: World) -> Operation:
    return ("read", world.groups[HOST][0], [])


def conductors_die_before_a_commit(world: World) -> None:
    """Each conductor ends between what comes before a commit and the commit."""
    _let_die(world, "before")


def conductors_die_after_a_commit(world: World) -> None:
    """Each conductor ends between a commit and what comes after it."""
    _let_die(world, "after")


def _let_die(world: World, when: str) -> None:
    world.do(HOST, _read(world), *_saves(world, 2))
    for name in ("one", "two"):
        world.kill_conductor(name, f"{when} 2")
    ended = world.order(HOST, *_saves(world, 6, ("fault",)))
    world.await_deaths()
    for name in ("one", "two"):
        world.kill_conductor(name)
    world.wait(ended, "the writes to return")


def a_cut(world: World) -> None:
    """Much is written while the host is cut off, and shipped when it is back."""
    world.do(HOST, _read(world), *_saves(world, 2))
    world.cut(HOST, "silence")
    world.do(HOST, *_saves(world, _MANY), _read(world))
    world.heal(HOST)


def two_cuts(world: World) -> None:
    """What was written in one cut is read in the next."""
    a_cut(world)
    world.drain(_PATIENCE)
    world.cut(HOST, "reset")
    world.do(HOST, _read(world))
    world.heal(HOST)


def a_link_that_loses(world: World) -> None:
    """What was handed to a link is lost in it."""
    world.do(HOST, _read(world), *_saves(world, 2))
    world.cut(HOST, "silence")
    world.do(HOST, *_saves(world, 4))
    world.cut(HOST, "reset")
    world.heal(HOST)


def an_evacuation(world: World) -> None:
    """An instance goes to another host while its own is cut off and goes on writing."""
    world.do(HOST, _read(world), *_saves(world, 2))
    world.cut(HOST, "silence")
    world.do(HOST, *_saves(world, 2))
    world.evacuate(HOST, "0")
    world.do(HOST, *_saves(world, 2))
    world.heal(HOST)


def a_deletion(world: World) -> None:
    """An instance is deleted while its host is cut off and goes on writing."""
    world.do(HOST, _read(world), *_saves(world, 2))
    world.cut(HOST, "silence")
    world.do(HOST, *_saves(world, 2))
    world.delete(HOST, "0")
    world.do(HOST, *_saves(world, 2))
    world.heal(HOST)


def a_second_owner(world: World) -> None:
    """A process goes on after another one has gone on with a copy of its journal.

    The newer one writes to one instance, and so not every conductor has heard of it.
    """
    first, *others = world.groups[HOST]
    world.do(HOST, *(("read", group, []) for group in world.groups[HOST]), *_saves(world, 2))
    former = world.life[HOST]
    go_on = world.clone(HOST)
    world.do(HOST, _read(world), *_saves(world, 2))
    go_on()
    late = [("save", group, ["name"]) for group in [*others, first, *others]]
    world.wait(world.order(HOST, *late, life=former), "the late words")
    world.await_silence_of_former()


def a_forgotten_owner(world: World) -> None:
    """A process goes on after a newer owner of its journal, which nobody living has heard of."""
    world.do(HOST, _read(world), *_saves(world, 2))
    former = world.life[HOST]
    go_on = world.clone(HOST)
    world.do(HOST, _read(world), *_saves(world, 1))
    world.end_host(HOST)
    for name in ("one", "two"):
        world.kill_conductor(name)
    for number in ("0", "1"):
        world.kill_endpoint(number)
    go_on()
    world.wait(world.order(HOST, *_saves(world, 2), life=former), "the late words")
    world.await_silence_of_former()
    world.start_host(HOST)


def a_copy_put_back(world: World) -> None:
    """A journal forgets what the centre has had of it, and its host writes on."""
    world.do(HOST, _read(world))
    world.copy(HOST)
    world.do(HOST, *_saves(world, 4))
    world.drain(_PATIENCE)
    world.restore(HOST)
    world.do(HOST, *_saves(world, 4))


@dataclasses.dataclass(frozen=True)
class Case:
    """A defect, the scenario that shows it, and the rule that is broken then."""

    mutant: str
    scenario: Callable[[World], None]
    rule: Rule

    @property
    def name(self) -> str:
        """Its own."""
        return self.mutant.replace(" ", "-") or f"none-{self.scenario.__name__}"


CASES = [
    Case("row before the transaction", conductors_die_before_a_commit, Rule.DURABILITY),
    Case("row after the transaction", conductors_die_after_a_commit, Rule.ONCE),
    Case("no row", conductors_die_after_a_commit, Rule.ONCE),
    Case("epoch ignored", a_second_owner, Rule.FENCING),
    Case("epoch forgotten", a_forgotten_owner, Rule.FENCING),
    Case("predecessor ignored", a_cut, Rule.ORDER),
    Case("batch reordered", a_cut, Rule.MONOTONIC_WRITES),
    Case("overlay off", a_cut, Rule.READ_YOUR_WRITES),
    Case("settled writes forgotten", two_cuts, Rule.MONOTONIC_READS),
    Case("settled when shipped", a_link_that_loses, Rule.DURABILITY),
    Case("fence off", an_evacuation, Rule.FENCING),
    Case("numbers used again", a_copy_put_back, Rule.DURABILITY),
]
UNTOUCHED = [
    Case("", scenario, Rule.DRAIN)
    for scenario in (
        conductors_die_before_a_commit,
        conductors_die_after_a_commit,
        two_cuts,
        a_link_that_loses,
        an_evacuation,
        a_copy_put_back,
        a_deletion,
        a_forgotten_owner,
        a_second_owner,
    )
]

HARMLESS = [
    Case("batch alone reordered", a_cut, Rule.ORDER),
]
"""Defects that another part of the code makes up for: the rule is kept all the same."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The history of a case, and what is wrong in it; or what kept it from its end."""

    history: History
    violations: list[Violation]
    error: str = ""


def _run(directory: pathlib.Path, database: str, forker: forkers.Forker, case: Case) -> Outcome:
    world = World(
        directory, database, forker, hosts=(HOST,), groups=1, threads=0, mutant=case.mutant
    )
    try:
        case.scenario(world)
        history = world.finish(_PATIENCE)
        history.dump(directory / "history.jsonl")
    except AssertionError as error:
        return Outcome(History(), [], str(error))
    finally:
        world.close()
    return Outcome(history, checker.check(history))


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_sqlite: MakeDatabase,
    forker: forkers.Forker,
) -> dict[Case, Outcome]:
    """What became of the cases that were asked for; some of them at a time."""
    cases = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and "case" in getattr(item, "fixturenames", ())
    ]
    directory = tmp_path_factory.mktemp("mutants")

    def run(case: Case) -> Outcome:
        for _ in range(_TRIES if case in CASES else 1):
            path = fresh(directory)
            outcome = _run(path, make_sqlite(path.name), forker, case)
            if case.rule in {each.rule for each in outcome.violations}:
                break
        return outcome

    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(zip(cases, threads.map(run, cases), strict=True))


def _params(cases: list[Case], *marks: pytest.MarkDecorator) -> list[object]:
    return [pytest.param(case, id=case.name, marks=marks) for case in cases]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", _params(CASES))
def test_a_defect_is_told_by_its_rule(outcomes: dict[Case, Outcome], case: Case) -> None:
    found = outcomes[case]
    assert not found.error
    told = checker.report(found.history, found.violations)
    assert case.rule in {each.rule for each in found.violations}, told


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "case", _params(UNTOUCHED[-4:]) + _params(UNTOUCHED[:-4] + HARMLESS, pytest.mark.soak)
)
def test_without_a_defect_nothing_is_told(outcomes: dict[Case, Outcome], case: Case) -> None:
    found = outcomes[case]
    assert not found.error
    assert not found.violations, checker.report(found.history, found.violations)


def test_each_defect_has_its_case() -> None:
    assert {case.mutant for case in CASES + HARMLESS} == set(mutants.MUTANTS)
