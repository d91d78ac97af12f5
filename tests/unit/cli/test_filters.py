# SPDX-License-Identifier: Apache-2.0
"""Which entries the arguments of a command mean."""

from __future__ import annotations

import argparse
import time

import pytest

from nova_edge_bus.cli import filters


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7", (7, 7)),
        ("7-9", (7, 9)),
        ("7-7", (7, 7)),
        ("7-", (7, None)),
        ("-9", (None, 9)),
    ],
)
def test_a_seq_or_a_range_is_read(text: str, meant: tuple[int | None, int | None]) -> None:
    assert filters.seqs(text) == meant


@pytest.mark.parametrize("text", ["", "-", "x", "9-7", "1-2-3", "0x1", "99999999999999999999"])
def test_a_bad_range_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        filters.seqs(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00Z", 86400.0),
        ("1970-01-02T00:00:00", 86400.0),
        ("1970-01-02", 86400.0),
        ("1970-01-02T01:00:00+01:00", 86400.0),
        ("1970-01-02T00:00:00.5", 86400.5),
    ],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert filters.moment(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800)]
)
def test_how_long_ago_is_read(text: str, seconds: float) -> None:
    before = time.time()
    assert before - seconds <= filters.moment(text) <= time.time() - seconds


@pytest.mark.parametrize("text", ["", "yesterday", "30", "-30m", "2026-13-01"])
def test_a_bad_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        filters.moment(text)
