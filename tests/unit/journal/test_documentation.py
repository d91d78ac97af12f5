# SPDX-License-Identifier: Apache-2.0
"""doc/source/journal.rst says what the code says."""

import re

import pytest

from nova_edge_bus.journal import entries
from nova_edge_bus.journal import housekeeping
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import quota
from nova_edge_bus.journal import reasons
from nova_edge_bus.journal import schema
from tests.unit.journal import make

PAGE = (make.ROOT / "doc" / "source" / "journal.rst").read_text()
FLAT = " ".join(PAGE.split())
SECTION = re.compile(r"^``(\w+)``\n-+\n(.*?)(?=^``\w+``\n-+\n|\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^   \* - ``(\w+)``\n     - (.*?)(?=^   \* -|\Z)", re.MULTILINE | re.DOTALL)


def documented() -> dict[str, dict[str, str]]:
    """Each table's columns and their meaning, as the page has them."""
    return {
        name: {column: " ".join(text.split()) for column, text in ROW.findall(body)}
        for name, body in SECTION.findall(PAGE)
    }


def test_every_table_and_column_is_documented() -> None:
    columns = {name: list(meanings) for name, meanings in documented().items()}
    assert columns == {
        name: list(table.columns.keys()) for name, table in schema.metadata.tables.items()
    }


@pytest.mark.parametrize(
    ("table", "states"), [("outbox", schema.State), ("inbox", entries.InboxState)]
)
def test_every_state_is_documented(table: str, states: type[schema.State]) -> None:
    listed = ", ".join(f"{int(state)}: {state.name.lower()}" for state in states)
    assert documented()[table]["state"].startswith(f"{listed}.")


def test_every_counter_is_documented() -> None:
    assert re.findall(r"``(\w+)``", documented()["counters"]["name"]) == list(schema.COUNTERS)


def test_the_numbers_are_those_of_the_code(it: journal.Journal) -> None:
    limits = quota.Quota(it._db, 512 * make.MEBIBYTE)
    assert limits.wal_pages * 4096 // 1_000_000 == 8
    assert "every 8 MiB" in FLAT
    assert 23 <= limits.wal_bytes / make.MEBIBYTE <= 24
    assert "24 MiB, less when the quota is small" in FLAT
    assert limits.ceiling - limits.append_limit == limits.max_bytes // 16
    assert "1/16, at least 128 KiB" in FLAT
    assert limits.notification_limit == limits.max_bytes // 4
    assert housekeeping.VACUUM_PAGES * 4096 == make.MEBIBYTE
    assert housekeeping.SLACK_PAGES * 4096 == 256 * 1024
    assert f"At most {reasons.MAX_REASON} characters" in FLAT
    assert f"{schema.APPLICATION_ID:#X}".replace("X", "x") in FLAT


def test_the_error_is_quoted_as_it_is(it: journal.Journal) -> None:
    quoted = re.search(r"^   cannot append .*?status'$", PAGE, re.MULTILINE | re.DOTALL)
    assert quoted is not None
    actual = str(quota.Quota(it._db, 512 * make.MEBIBYTE).full("append", 2311))
    name = "/var/lib/nova/edge-bus/compute-7.nova-compute-0.db"
    actual = re.sub(r"[\d.]+ MiB are live", "456.5 MiB are live", actual.replace(it.path, name))
    assert " ".join(quoted[0].split()) == actual
