# SPDX-License-Identifier: Apache-2.0
"""What is kept is there after a restart, bounded, and never half there."""

from __future__ import annotations

import logging
import os
import pathlib

import pytest

from nova_edge_bus.rest_guard import addresses
from nova_edge_bus.rest_guard import cache
from nova_edge_bus.rest_guard import errors

UPSTREAM = addresses.parse_upstream("http://ctl:8778/placement")


def make(directory: pathlib.Path, upstream: addresses.Upstream = UPSTREAM) -> cache.Cache:
    return cache.Cache(directory, upstream, "documents", lambda entry: entry["n"] >= 0)


def test_entries_outlive_the_process(tmp_path: pathlib.Path) -> None:
    first = make(tmp_path / "new" / "directory")
    first.put("/", {"n": 1})
    first.put("/", {"n": 2})
    first.put("/v1", {"n": 3})
    first.drop("/v1")
    first.drop("/v1")
    second = make(tmp_path / "new" / "directory")
    assert second.get("/") == {"n": 2}
    assert len(second) == 1


def test_upstreams_do_not_share_entries(tmp_path: pathlib.Path) -> None:
    make(tmp_path).put("/", {"n": 1})
    for other in ("http://ctl:8778", "https://ctl:8778/placement", "http://ctl:8778/_placement"):
        assert make(tmp_path, addresses.parse_upstream(other)).get("/") is None


def test_the_entry_kept_longest_makes_room(tmp_path: pathlib.Path) -> None:
    kept = make(tmp_path)
    for number in range(cache.MAX_ENTRIES + 3):
        kept.put(f"/v{number}", {"n": number})
    assert len(kept) == cache.MAX_ENTRIES
    assert kept.get("/v2") is None
    assert kept.get("/v3") == {"n": 3}
    assert len(make(tmp_path)) == cache.MAX_ENTRIES


def test_what_is_known_is_not_written_again(tmp_path: pathlib.Path) -> None:
    kept = make(tmp_path)
    kept.put("/", {"n": 1})
    (file,) = tmp_path.iterdir()
    before = file.stat().st_ino
    kept.put("/", {"n": 1})
    assert file.stat().st_ino == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"format": 2, "upstream": "http://ctl:8778/placement", "entries": {}}',
        b'{"format": 1, "upstream": "http://other", "entries": {}}',
        b'{"format": 1, "upstream": "http://ctl:8778/placement", "entries": 3}',
        b'{"format": 1, "upstream": "http://ctl:8778/placement", "entries": {"/": 3}}',
        b'{"format": 1, "upstream": "http://ctl:8778/placement", "entries": {"/": {}}}',
        b'{"format": 1, "upstream": "http://ctl:8778/placement", "entries": {"/": {"n": -1}}}',
    ],
)
def test_a_broken_file_is_ignored_and_replaced(
    tmp_path: pathlib.Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path).put("/", {"n": 1})
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    again = make(tmp_path)
    assert len(again) == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    again.put("/", {"n": 2})
    assert make(tmp_path).get("/") == {"n": 2}


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = make(tmp_path)
    kept.put("/", {"n": 1})

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        kept.put("/", {"n": 2})
    assert "No space left" in caplog.text
    assert kept.get("/") == {"n": 2}
    assert make(tmp_path).get("/") == {"n": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.RestGuardError, match="--cache-dir"):
        make(tmp_path / "file" / "below")
