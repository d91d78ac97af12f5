# SPDX-License-Identifier: Apache-2.0
"""What a call that was not sent comes to."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A reply, as the centre would have given it; its inner parts are shared: do not change."""

    reply: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An exception that the centre would have raised.

    ``kwargs`` are those of the exception's constructor.
    """

    module: str
    class_name: str
    kwargs: dict[str, Any]
