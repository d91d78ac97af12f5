# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind `make demo`: a real nova on loopback, one of whose sites is cut off.

Exits with 0 only when every step worked.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shutil
import sys
import tempfile
import time

from tests.nova import lifecycle
from tests.nova import site_cut
from tests.nova import site_picture
from tests.nova import site_report
from tests.nova.bus import Bus
from tests.nova.bus import EdgeBus
from tests.nova.bus import RabbitBus
from tests.nova.stack import NovaStack

_BUSES: dict[str, type[Bus]] = {"edge": EdgeBus, "rabbit": RabbitBus}
_SETTLE_SECONDS = 60.0
_COMPLAINT = re.compile(r" (ERROR|CRITICAL) |^\w*(Error|Exception): ")


def main() -> int:
    """Run the demonstration and return the exit status."""
    arguments = _parse()
    workdir = pathlib.Path(tempfile.mkdtemp(prefix="nova-edge-bus-demo-"))
    print(f"A real nova with two computes over {arguments.bus}, in {workdir}", flush=True)
    stack = NovaStack(
        workdir,
        _BUSES[arguments.bus](),
        backend=arguments.database,
        far_sites=True,
        options=site_cut.options(),
        compute_options=site_cut.compute_options(),
        progress=_Clock().tell_start,
    )
    try:
        with stack:
            _live(stack)
            succeeded = _report_errors(stack)
            succeeded = _cut(stack, arguments) and succeeded
    except Exception as error:
        print(f"\nFailed: {error}", file=sys.stderr)
        succeeded = False
    if not succeeded:
        _show_complaints(stack)
    if arguments.keep or not succeeded:
        print(f"\nLogs, configuration, databases and journals are kept in {workdir}")
    else:
        shutil.rmtree(workdir)
    return 0 if succeeded else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.nova.demo", description=__doc__)
    parser.add_argument("--bus", choices=_BUSES, default="edge", help="what carries the RPCs")
    parser.add_argument(
        "--database",
        choices=["sqlite", "mariadb"],
        default="sqlite",
        help="nova's database; mariadb is the server on 127.0.0.1:3306 (root, no password)",
    )
    parser.add_argument(
        "--cut", type=float, default=120.0, metavar="SECONDS", help="how long the site is cut off"
    )
    parser.add_argument(
        "--restart",
        choices=[site_cut.GRACEFUL, site_cut.KILL, "none"],
        default=site_cut.GRACEFUL,
        help="how nova-compute is ended in the middle of the cut, to be started again",
    )
    parser.add_argument(
        "--picture",
        type=pathlib.Path,
        default=pathlib.Path("build", "site-cut.png"),
        metavar="FILE",
        help="where to draw the timeline, .png or .svg",
    )
    parser.add_argument("--keep", action="store_true", help="keep the working directory")
    return parser.parse_args()


class _Clock:
    """Says what is being done, with the seconds since the clock was made before it."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {what}", flush=True)

    def tell_start(self, what: str) -> None:
        self.tell(f"starting {what}")


def _live(stack: NovaStack) -> None:
    print(
        "\nA server lives; journaled entries and bytes are those of the computes\n\n"
        + lifecycle.HEADING,
        flush=True,
    )
    steps = []
    for step in lifecycle.run(stack, lifecycle.full_life):
        steps.append(step)
        print(lifecycle.row(step), flush=True)
    print(lifecycle.row(lifecycle.total(steps)), flush=True)


def _cut(stack: NovaStack, arguments: argparse.Namespace) -> bool:
    """Cut a site off, say what comes of it, and return whether all was right in the end."""
    host = stack.computes[0].host
    print(f"\nThe site of {host} is cut off for {arguments.cut:g} s: bus and REST\n", flush=True)
    report = site_cut.run(
        stack,
        seconds=arguments.cut,
        settle_seconds=_SETTLE_SECONDS,
        restart=None if arguments.restart == "none" else arguments.restart,
        say=_Clock().tell,
    )
    print(f"\n{site_report.table(report)}\n")
    for line in site_report.summary(report):
        print(f"  {line}")
    title = f"{arguments.bus} bus: the site of {host} cut off for {arguments.cut:g} s"
    picture = site_picture.draw(report, arguments.picture, title)
    print(f"\nThe timeline is drawn in {picture.resolve()}")
    for outcome in report.wrong:
        print(f"\nWrong in the end: the server {outcome.role.name}", file=sys.stderr)
    return not report.wrong


def _report_errors(stack: NovaStack) -> bool:
    """Say which RPCs failed, and return whether none did."""
    failed = lifecycle.failed_rpcs(stack)
    for what, count in failed.items():
        print(f"\nFailed RPC, {count} times: {what}", file=sys.stderr)
    return not failed


def _show_complaints(stack: NovaStack, lines: int = 5) -> None:
    """Print what the logs have to say about a failure."""
    for process in stack.processes:
        complaints = [line for line in process.log_text().splitlines() if _COMPLAINT.search(line)]
        if complaints:
            print(f"\n{process.log} says:", file=sys.stderr)
            print("\n".join(complaints[-lines:]), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
