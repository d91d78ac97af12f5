# SPDX-License-Identifier: Apache-2.0
"""The thread that thousands of simulated processes live on.

The driver's own loop asks every socket and every service in each turn, which is right for the few
that a process has. This one is told by the kernel which of its sockets has something.
"""

import contextlib
import heapq
import itertools
import os
import random
import select
import threading
import time
import traceback
import typing
from collections.abc import Callable

import zmq

from bench import crowd

_MOST_EVENTS = 512
_LONGEST_WAIT = 0.5
"""Seconds."""

_Task = Callable[[float], None]


class CrowdLoop:
    """Runs the lines of members, each of which is due when its session says so."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, tuple[crowd.Line, zmq.Socket[bytes]]] = {}
        self._tasks: list[tuple[float, int, _Task]] = []
        self._order = itertools.count()
        self._calls: list[_Task] = []
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self.members: list[crowd.Member] = []
        self.packets = 0
        self._interval = 0.0
        self._epoch = 0
        threading.Thread(target=self._run, name="crowd", daemon=True).start()

    # Any thread

    def add(self, members: list[typing.Any], seconds: float) -> None:
        """Have members dial, spread over so many seconds."""

        def begin(now: float) -> None:
            self.members += members
            for place, member in enumerate(members):
                at = now + seconds * place / len(members)
                for line in member.lines:
                    self._at(at, line)

        self._soon(begin)

    def report(self, interval: float) -> None:
        """Have each compute report every so many seconds from a random moment on; 0 for never."""

        def begin(now: float) -> None:
            self._epoch += 1
            self._interval = interval
            for member in self.members if interval else ():
                assert isinstance(member, crowd.Compute)
                self._report_at(now + random.uniform(0.0, interval), member, self._epoch)

        self._soon(begin)

    def state(self) -> dict[str, typing.Any]:
        """What has been sent and answered, and how many lines are up and know a consumer."""
        lines = [line for member in list(self.members) for line in member.lines]
        return {
            "linked": sum(line.up for line in lines),
            "routed": sum(line.up and bool(line.consumers) for line in lines),
            "reported": sum(member.reported for member in self.members),
            "replied": sum(member.replied for member in self.members),
            "packets": self.packets,
        }

    def returned(self, endpoint: int, since: float) -> tuple[list[float], list[float]]:
        """Which lines to an endpoint have come up since then, and when; and learnt of a consumer.

        Times are seconds of the monotonic clock, which all processes share.
        """
        lines = [member.lines[endpoint] for member in list(self.members)]
        up = [round(line.up_at, 3) for line in lines if line.up and line.up_at > since]
        routed = [
            round(line.routed_at, 3)
            for line in lines
            if line.up and line.consumers and line.routed_at > since
        ]
        return up, routed

    def _soon(self, call: _Task) -> None:
        self._calls.append(call)
        os.eventfd_write(self._wake, 1)

    # The thread of its own

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException:
            # Who counts the lines must not wait for those of a thread that has ended.
            traceback.print_exc()
            os._exit(1)

    def _serve(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll(self._wait(), _MOST_EVENTS):
                now = time.monotonic()
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                elif descriptor in self._by_descriptor:
                    line, socket = self._by_descriptor[descriptor]
                    self._read(line, socket, now)
                    self._turn(line, now)
            calls, self._calls = self._calls, []
            for call in calls:
                call(time.monotonic())
            # What came is taken before the time is looked at, as the driver does.
            for _ in range(min(len(self._tasks), _MOST_EVENTS)):
                now = time.monotonic()
                if self._tasks[0][0] > now:
                    break
                heapq.heappop(self._tasks)[2](now)

    def _wait(self) -> float:
        if not self._tasks:
            return _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, self._tasks[0][0] - time.monotonic()))

    def _task(self, at: float, task: _Task) -> None:
        heapq.heappush(self._tasks, (at, next(self._order), task))

    def _at(self, at: float, line: crowd.Line) -> None:
        """Give a line its turn at a time, unless it has one before."""
        if line.due <= at:
            return
        line.due = at

        def turn(now: float) -> None:
            if line.due == at:
                line.due = float("inf")
                self._turn(line, now)

        self._task(at, turn)

    def _turn(self, line: crowd.Line, now: float) -> None:
        """What the driver's loop does for a link in a turn, until nothing more has come."""
        link = line.link
        # A loop that is late must not take for silence what it has not read yet.
        for socket in list(line.watched):
            self._read(line, socket, now)
        while True:
            link.tick(now)
            self._note_change(line, now)
            self._flush(line)
            self._watch(line)
            if not any(self._read(line, socket, now) for socket in list(line.watched)):
                break
        deadline = link.next_deadline()
        if deadline is not None:
            self._at(deadline, line)

    def _flush(self, line: crowd.Line) -> None:
        before = line.link.bytes_out
        line.link.flush()
        self.packets += line.link.bytes_out > before

    def _read(self, line: crowd.Line, socket: "zmq.Socket[bytes]", now: float) -> bool:
        """Take all that has come on a socket; tell whether anything had.

        The kernel tells of a socket once, and a write may take what it told.
        """
        found = False
        while not socket.closed and socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator]
            found = True
            for message in line.link.read(socket, now):
                line.member.take(line, message, now)
        return found

    def _note_change(self, line: crowd.Line, now: float) -> None:
        if line.link.is_up == line.up:
            return
        line.up = not line.up
        line.consumers = []
        if not line.up:
            return
        line.up_at = now
        member = line.member
        member.begin(line)
        if isinstance(member, crowd.Compute):
            self._tell_later(member, line, now)

    def _tell_later(self, member: crowd.Compute, line: crowd.Line, now: float) -> None:
        def tell(now: float) -> None:
            if line.up:
                member.tell(line)
                self._turn(line, now)

        self._task(now + random.uniform(0.0, crowd.TELL_WITHIN), tell)

    def _report_at(self, at: float, member: crowd.Compute, epoch: int) -> None:
        def report(now: float) -> None:
            if epoch != self._epoch:
                return
            self._report_at(at + self._interval, member, epoch)
            line = member.report()
            if line is not None:
                self._turn(line, now)

        self._task(at, report)

    def _watch(self, line: crowd.Line) -> None:
        """Ask the kernel about the sockets that the link has now."""
        sockets = line.link.sockets()
        if len(sockets) == len(line.watched) and all(each in line.watched for each in sockets):
            return
        for socket in [each for each in line.watched if each not in sockets]:
            descriptor = line.watched.pop(socket)
            del self._by_descriptor[descriptor]
            # ZeroMQ may have closed it already, which takes it out as well.
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)
        for socket in sockets:
            if socket not in line.watched:
                descriptor = typing.cast(int, socket.getsockopt(zmq.FD))
                line.watched[socket] = descriptor
                self._by_descriptor[descriptor] = (line, socket)
                self._epoll.register(descriptor, select.EPOLLIN)
