# SPDX-License-Identifier: Apache-2.0
"""What a run of tests.nova.site_cut has seen, and the table of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from collections.abc import Sequence

from tests.nova.timeline import CentralState
from tests.nova.timeline import Timeline


@dataclasses.dataclass(frozen=True)
class Role:
    """What happens to one server, and how it has to be in the end.

    :param edge: the power state at the hypervisor
    :param status: what nova-api has to say, without a task
    """

    name: str
    edge: str
    status: str

    def is_right(self, edge: str, centre: CentralState) -> bool:
        """Whether edge and centre are as they have to be, and agree."""
        return edge == self.edge and centre == CentralState(self.status, None, self.edge)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one server.

    `before_heal` and `finally_` are the edge's and the centre's word at the end of the cut and at
    the end of the run. `right_after` is the number of seconds from the heal until both were right
    for good, zero if they were all along, None if they never were. `actions` are nova's instance
    actions with what it says of them, oldest first.
    """

    role: Role
    server_id: str
    before_heal: tuple[str, CentralState]
    finally_: tuple[str, CentralState]
    right_after: float | None
    actions: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Report:
    """All that a run has seen; times in the timeline are seconds since the cut.

    `failed_rpcs` are calls and casts of the compute, as `method: error` with their number, and
    `longest_call` is the longest call of all in seconds. `restarted_in` is how long nova-compute
    took to serve again when it was started while cut off, None where it did not or was not asked.
    """

    outcomes: Sequence[Outcome]
    timeline: Timeline
    failed_rpcs: Mapping[str, int]
    longest_call: float
    restarted_in: float | None

    @property
    def wrong(self) -> list[Outcome]:
        """The servers that are not as they have to be."""
        return [each for each in self.outcomes if each.right_after is None]

    @property
    def healed_in(self) -> float | None:
        """Seconds from the heal until all servers were right for good; None if one never was."""
        if self.wrong:
            return None
        return max(each.right_after or 0.0 for each in self.outcomes)

    def of(self, role: Role) -> Outcome:
        """Return what became of the server with this role."""
        return next(each for each in self.outcomes if each.role is role)

    @property
    def service_down_for(self) -> float:
        """Seconds for which nova-api counted the compute as down."""
        samples = self.timeline.samples
        pairs = itertools.pairwise(samples)
        return sum(later.at - now.at for now, later in pairs if not now.service_up)


def table(report: Report) -> str:
    """Return the outcomes as lines of text."""
    heading = ("server", "edge, end of cut", "centre, end of cut", "edge", "centre", "right after")
    rows = [
        (
            each.role.name,
            each.before_heal[0],
            str(each.before_heal[1]),
            each.finally_[0],
            str(each.finally_[1]),
            "never" if each.right_after is None else f"{each.right_after:.1f} s",
        )
        for each in report.outcomes
    ]
    columns = list(zip(heading, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (heading, *rows)
    )


def summary(report: Report) -> list[str]:
    """Return the report's other findings, each in a line of text."""
    lines = [f"nova-api counted the compute as down for {report.service_down_for:.0f} s"]
    if report.restarted_in is not None:
        lines.append(f"nova-compute served {report.restarted_in:.1f} s after its start in the cut")
    lines.append(f"the longest call of nova-compute took {report.longest_call:.1f} s")
    lines += [f"failed RPC, {count} times: {what}" for what, count in report.failed_rpcs.items()]
    lines += [
        f"{each.role.name}: nova says of its action {action}"
        for each in report.outcomes
        for action in each.actions
        if not action.endswith(": Success")
    ]
    return lines
