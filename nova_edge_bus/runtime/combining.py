# SPDX-License-Identifier: Apache-2.0
"""Many small wishes, one operation on the journal: what gathers during a commit goes together."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from nova_edge_bus import concurrency
from nova_edge_bus.journal import journal as journal_module

Verb = Callable[[journal_module.Journal, Sequence[Any]], Sequence[Any] | None]
"""Writes a batch; gives a result for each, or None."""
Done = Callable[[Any, Exception | None], None]


class Combiner:
    """Gathers arguments from any thread and writes them with one *verb*.

    :param submit: runs an operation in the journal's writer, see ``JournalWriter.submit``
    """

    def __init__(
        self,
        submit: Callable[[Callable[[journal_module.Journal], Any], Done], None],
        verb: Verb,
    ) -> None:
        self._submit = submit
        self._verb = verb
        self._lock = concurrency.native.threading.Lock()
        self._gathered: list[tuple[Any, Done]] = []

    def add(self, argument: Any, done: Done) -> None:
        """Write *argument* soon; *done* gets its result, or the error that befell its batch.

        :raises JournalError: when the journal is closed
        """
        with self._lock:
            self._gathered.append((argument, done))
            if len(self._gathered) > 1:
                return
        batch: list[tuple[Any, Done]] = []

        def take() -> None:
            # The writer may run the operation again after undoing it: the batch stays the same.
            if not batch:
                with self._lock:
                    batch[:], self._gathered = self._gathered, []

        def write(journal: journal_module.Journal) -> Sequence[Any] | None:
            take()
            return self._verb(journal, [each for each, _ in batch])

        def finish(results: Sequence[Any] | None, error: Exception | None) -> None:
            take()
            for number, (_, tell) in enumerate(batch):
                tell(None if results is None else results[number], error)

        try:
            self._submit(write, finish)
        except Exception:
            with self._lock:
                self._gathered = []
            raise
