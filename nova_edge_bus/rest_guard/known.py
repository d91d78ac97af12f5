# SPDX-License-Identifier: Apache-2.0
"""What may be known of the answer to one request."""

import typing

from aiohttp import web


class Known(typing.Protocol):
    """The answer to one request, as far as it may be kept and given again."""

    max_bytes: int
    """A longer answer is passed on and not kept."""

    def keep(self, status: int, body: bytes, origin: str) -> bytes | None:
        """Keep the upstream's answer if it is one of those that are kept.

        :param body: JSON, or not
        :param origin: where the client sees the guard
        :return: the body to give to the client instead; None to give it what came
        """

    def answer(self, origin: str) -> web.Response | None:
        """The answer from what was kept; None if nothing was."""

    @property
    def patience(self) -> bool:
        """Whether to wait for a slow upstream although :meth:`answer` has an answer."""
