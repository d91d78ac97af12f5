# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus db sync`` makes the tables, once, and says what it does."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib

import pytest
import sqlalchemy

from nova_edge_bus.cell import sync
from nova_edge_bus.cell import table
from nova_edge_bus.cli import main


@pytest.fixture
def url(tmp_path: pathlib.Path) -> str:
    return f"sqlite:///{tmp_path / 'cell.sqlite'}"


def tables(url: str) -> set[str]:
    engine = sqlalchemy.create_engine(url)
    found = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    return found


def test_a_dry_run_changes_nothing(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["db", "sync", "--connection", url, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would do: v1 ")
    assert tables(url) == set()


def test_it_is_done_once(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["db", "sync", "--connection", url]) == 0
    assert tables(url) == {*table.metadata.tables, sync.VERSION_TABLE}
    assert main.main(["db", "sync", "--connection", url]) == 0
    *done, last = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in done] == [["done:", "v1"], ["done:", "v2"]]
    assert last == "the tables are current"


def test_an_older_database_gets_what_it_lacks(url: str) -> None:
    sync.sync(url)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {table.floors.name}")
        connection.exec_driver_sql(f"UPDATE {sync.VERSION_TABLE} SET version_num = 'v1'")
        connection.execute(table.inbox.insert(), {"outbox": "00" * 8, "seq": 1, "part": 0})
    assert [step.split()[0] for step in sync.sync(url)] == ["v2"]
    with engine.connect() as connection:
        assert len(connection.execute(sqlalchemy.select(table.inbox)).all()) == 1
        assert connection.execute(sqlalchemy.select(table.floors)).all() == []
    engine.dispose()


def test_json_says_the_same(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["db", "sync", "--connection", url, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["dry_run"] is False
    assert [step.split()[0] for step in said["steps"]] == ["v1", "v2"]


def test_the_database_can_be_named_by_nova_conf(url: str, tmp_path: pathlib.Path) -> None:
    configuration = tmp_path / "nova.conf"
    configuration.write_text(f"[database]\nconnection = {url}\n")
    assert main.main(["db", "sync", "--config-file", str(configuration)]) == 0
    assert table.inbox.name in tables(url)


def test_nova_s_own_tables_are_left_alone(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE instances (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO instances VALUES (7)")
    sync.sync(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT id FROM instances").scalar() == 7
    engine.dispose()


def test_a_newer_database_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    sync.sync(url)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {sync.VERSION_TABLE} SET version_num = 'v9'")
    engine.dispose()
    assert main.main(["db", "sync", "--connection", url]) == 1
    assert "has version v9 of the bus's tables" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--connection", "nonsense"], 1, "the database URL cannot be used"),
        (["--connection", "sqlite:////nowhere/at/all.db"], 1, "unable to open database file"),
        (["--config-file", "/nowhere.conf"], 1, "/nowhere.conf"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["db", "sync", *arguments]) == status
    assert text in capsys.readouterr().err


def test_a_database_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main.main(["db", "sync"])
    assert "one of the arguments --config-file --connection is required" in capsys.readouterr().err


def test_no_password_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    url = "mysql+pymysql://nova:s3cret@127.0.0.1:1/nova"
    assert main.main(["db", "sync", "--connection", url]) == 1
    said = capsys.readouterr().err
    assert "s3cret" not in said
    assert "127.0.0.1" in said


def test_threads_can_do_it_at_the_same_time(tmp_path: pathlib.Path) -> None:
    urls = [f"sqlite:///{tmp_path}/cell-{number}.sqlite" for number in range(16)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert all(threads.map(sync.sync, urls))
    assert not any(map(sync.pending, urls))
