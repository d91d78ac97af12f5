# SPDX-License-Identifier: Apache-2.0
"""The loop reads, keeps time, and takes calls from other threads."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from nova_edge_bus import concurrency
from nova_edge_bus.transport import loop as loops

PATIENCE = 20.0


class Service:
    """Notes what the loop does with it."""

    def __init__(self, *watched: zmq.Socket[bytes]) -> None:
        self.watched = list(watched)
        self.read: list[bytes] = []
        self.ticks = 0
        self.deadline: float | None = None
        self.broken = False

    def sockets(self) -> list[zmq.Socket[bytes]]:
        return self.watched

    def on_readable(self, socket: zmq.Socket[bytes], now: float) -> None:
        self.read.append(socket.recv())

    def next_deadline(self) -> float | None:
        return self.deadline

    def tick(self, now: float) -> None:
        self.ticks += 1
        if self.broken:
            raise RuntimeError("broken service")
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None


@pytest.fixture
def loop() -> Iterator[loops.Loop]:
    made = loops.Loop()
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    context: zmq.Context[Any] = zmq.Context()
    ends = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    ends[0].bind("inproc://pipe")
    ends[1].connect("inproc://pipe")
    yield ends
    context.destroy(linger=0)


def run_until_stopped(loop: loops.Loop) -> None:
    thread = threading.Thread(target=loop.run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_what_arrives_is_read(
    loop: loops.Loop, pipe: tuple[zmq.Socket[bytes], zmq.Socket[bytes]]
) -> None:
    service = Service(pipe[0])
    loop.register(service)
    pipe[1].send(b"one")
    pipe[1].send(b"two")
    loop.turn(1.0)
    loop.turn(1.0)
    assert service.read == [b"one", b"two"]
    assert service.ticks == 2


def test_the_sockets_of_a_service_may_change(
    loop: loops.Loop, pipe: tuple[zmq.Socket[bytes], zmq.Socket[bytes]]
) -> None:
    service = Service()
    loop.refresh(service)
    loop.register(service)
    pipe[1].send(b"early")
    loop.turn(0.01)
    assert service.read == []
    service.watched = [pipe[0]]
    loop.refresh(service)
    loop.turn(1.0)
    assert service.read == [b"early"]
    service.watched = []
    loop.refresh(service)
    pipe[1].send(b"late")
    loop.turn(0.01)
    loop.unregister(service)
    loop.unregister(service)
    ticks = service.ticks
    loop.turn(0.01)
    assert (service.read, service.ticks) == ([b"early"], ticks)


def test_calls_from_other_threads_keep_their_order(loop: loops.Loop) -> None:
    calls: list[int] = []

    def ask() -> None:
        for number in range(100):
            loop.call_soon_threadsafe(lambda number=number: calls.append(number))
        loop.call_soon_threadsafe(loop.stop)

    asking = threading.Thread(target=ask)
    asking.start()
    run_until_stopped(loop)
    asking.join()
    assert calls == list(range(100))


def test_a_call_may_ask_for_another(loop: loops.Loop) -> None:
    loop.call_soon_threadsafe(lambda: loop.call_soon_threadsafe(loop.stop))
    run_until_stopped(loop)


def test_deadlines_are_kept_without_spinning(loop: loops.Loop) -> None:
    service = Service()
    loop.register(service)
    for _ in range(20):
        deadline = service.deadline = concurrency.monotonic() + 0.0025
        while service.deadline is not None:
            loop.turn(1000.0)
        assert concurrency.monotonic() >= deadline
    assert service.ticks <= 2 * 20


def test_an_error_of_one_service_is_logged_and_does_not_stop_the_others(
    loop: loops.Loop, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Service(), Service()
    broken.broken = True
    loop.register(broken)
    loop.register(sound)
    loop.call_soon_threadsafe(lambda: 1 // 0)
    with caplog.at_level(logging.ERROR):
        loop.turn(0.0)
        loop.turn(0.0)
    assert sound.ticks == 2
    assert "broken service" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_signal_handler_may_stop_the_loop(loop: loops.Loop) -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: loop.stop())
    try:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        began = time.monotonic()
        loop.run()
        assert time.monotonic() - began < PATIENCE
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
