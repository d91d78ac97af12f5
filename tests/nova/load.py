# SPDX-License-Identifier: Apache-2.0
"""Users of a nova who put it to work without pause."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from tests.nova.client import NovaClient

_JOIN_SECONDS = 300


def whole_life(client: NovaClient) -> None:
    """Boot, stop, start and delete a server."""
    server_id = client.create("under-load")
    client.wait_for(server_id, "ACTIVE")
    client.stop(server_id)
    client.start(server_id)
    client.delete(server_id)


class Load:
    """Runs as long as the `with` block; a user whose server does not obey gives up.

    At the end of the block the users finish the lives that they have begun.
    """

    def __init__(
        self,
        api_url: str,
        users: int = 3,
        wait_seconds: float = 120.0,
        life: Callable[[NovaClient], None] = whole_life,
    ) -> None:
        """Describe the load.

        :param wait_seconds: how long a user waits for one step
        :param life: what each user does again and again
        """
        self.lives = 0
        self._life = life
        self.errors: list[Exception] = []
        self._counting = threading.Lock()
        self._stopped = threading.Event()
        self._users = [
            threading.Thread(target=self._use, args=(NovaClient(api_url, wait_seconds),))
            for _ in range(users)
        ]

    def __enter__(self) -> Load:
        for user in self._users:
            user.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        for user in self._users:
            user.join(_JOIN_SECONDS)

    def _use(self, client: NovaClient) -> None:
        try:
            while not self._stopped.is_set():
                self._life(client)
                with self._counting:
                    self.lives += 1
        except Exception as error:
            self.errors.append(error)
