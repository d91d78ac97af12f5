# SPDX-License-Identifier: Apache-2.0
"""Which journals a command is about, and what it says of those that it cannot open."""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sqlite3

import pytest

from nova_edge_bus import errors
from nova_edge_bus.cli import journals
from nova_edge_bus.journal import schema
from nova_edge_bus.journal import slots
from tests.unit.journal import make


def made(folder: pathlib.Path, host: str, service: str, number: int = 0) -> pathlib.Path:
    path = folder / f"{slots.stem(host, service, number)}.db"
    with make.opened(path):
        pass
    return path


def select(*arguments: str) -> journals.Selection:
    parser = argparse.ArgumentParser()
    journals.add_arguments(parser)
    return journals.select(parser.parse_args(arguments))


def names(*arguments: str) -> list[str]:
    return [each.name for each in select(*arguments).journals]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the journals of two hosts and two services, and what is none."""
    for host, service in (("a.example", "nova-compute"), ("b", "nova-compute"), ("b", "x.y")):
        made(tmp_path, host, service)
    for name in ("b.nova-compute-0.lock", "b.nova-compute-0.db.corrupt-20260101T000000Z", "t.db"):
        (tmp_path / name).touch()
    return tmp_path


# Finding


def test_every_journal_of_a_folder_is_found_with_its_owner(folder: pathlib.Path) -> None:
    found = select("--journal-dir", str(folder)).journals
    assert [(each.host, each.service, each.number) for each in found] == [
        ("a.example", "nova-compute", 0),
        ("b", "nova-compute", 0),
        ("b", "x.y", 0),
    ]
    assert all(os.path.exists(each.path) for each in found)


def test_host_and_service_narrow_it_down(folder: pathlib.Path) -> None:
    directory = ("--journal-dir", str(folder))
    assert names(*directory, "--host", "b") == ["b.nova-compute-0.db", "b.x%2Ey-0.db"]
    assert names(*directory, "--host", "b", "--service", "x.y") == ["b.x%2Ey-0.db"]


def test_a_copy_under_any_name_can_be_named(folder: pathlib.Path) -> None:
    copy = shutil.copy(folder / "b.nova-compute-0.db", folder / "evidence")
    (found,) = select("--journal", str(copy)).journals
    assert (found.host, found.service, found.number) == (None, None, None)


def test_the_folder_comes_from_a_configuration_file(
    folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("etc") / "nova.conf"
    file.write_text(f"[edge_bus]\njournal_dir = {folder}\njournal_max_bytes = 2000000\n")
    selection = select("--config-file", str(file))
    assert len(selection.journals) == 3
    assert (selection.folder, selection.max_bytes) == (str(folder), 2000000)


def test_the_transport_url_and_the_command_line_win(
    folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("etc") / "nova.conf"
    url = f"edgebus://127.0.0.1/?journal_dir={folder}"
    file.write_text(f"[DEFAULT]\ntransport_url={url}\n[edge_bus]\njournal_dir = /nowhere\n")
    assert len(names("--config-file", str(file))) == 3
    other = tmp_path_factory.mktemp("other")
    made(other, "c", "nova-api")
    command = ("--config-file", str(file), "--journal-dir", str(other))
    assert names(*command) == ["c.nova-api-0.db"]


def test_without_a_word_the_environment_and_the_default_are_asked(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_EDGE_BUS__JOURNAL_DIR", str(folder))
    assert len(names()) == 3


# What cannot be used


def use(*arguments: str) -> None:
    for each in select(*arguments).journals:
        with journals.opened(each) as reader:
            reader.identity()


def refused(*arguments: str) -> str:
    with pytest.raises(errors.InputError) as caught:
        use(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_folder_without_journals_is_refused_with_a_hint(tmp_path: pathlib.Path) -> None:
    said = refused("--journal-dir", str(tmp_path))
    assert f"no journal in {tmp_path}" in said
    assert "--journal-dir" in said


def test_a_selection_of_nothing_is_refused_with_its_reason(folder: pathlib.Path) -> None:
    said = refused("--journal-dir", str(folder), "--host", "c", "--service", "x")
    assert said == f"none of the 3 journals in {folder} is of --host c --service x"


def test_a_folder_that_is_not_there_is_refused() -> None:
    assert "/nowhere: No such file or directory" in refused("--journal-dir", "/nowhere")


def test_a_file_that_is_not_there_is_refused(tmp_path: pathlib.Path) -> None:
    assert "no such file" in refused("--journal", str(tmp_path / "absent.db"))


def test_what_is_no_database_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("not a database at all, but long enough to have a header " * 100)
    assert f"journal {path} is corrupt: file is not a database" in refused("--journal", str(path))


@pytest.mark.parametrize("content", [b"", None])
def test_a_database_of_something_else_is_refused(
    tmp_path: pathlib.Path, content: bytes | None
) -> None:
    path = tmp_path / "other.db"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE t (x)")
    else:
        path.write_bytes(content)
    assert f"{path} is not a journal" in refused("--journal", str(path))


@pytest.mark.parametrize(("version", "hint"), [(99, "install the newer"), (1, "owner starts")])
def test_a_journal_of_another_version_is_refused(
    tmp_path: pathlib.Path, version: int, hint: str
) -> None:
    path = made(tmp_path, "a", "nova-compute")
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {version}")
    said = refused("--journal", str(path))
    assert f"{path} has version {version}" in said
    assert hint in said


def test_a_folder_for_a_file_is_refused(tmp_path: pathlib.Path) -> None:
    assert "Is a directory" in refused("--journal", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("edge_bus\n", "Failed to parse"),
        ("[edge_bus]\njournal_max_bytes = much\n", "journal_max_bytes"),
        ("[DEFAULT]\ntransport_url = edgebus://[ctl/\n", "transport_url cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(
    tmp_path: pathlib.Path, text: str, said: str
) -> None:
    file = tmp_path / "nova.conf"
    file.write_text(text)
    assert said in refused("--config-file", str(file))


# Opening


def test_a_journal_is_changed_beside_its_owner(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.nova-compute-0.db"
    with make.opened(path) as owner:
        make.append(owner, make.entry())
        make.settle(owner, (1, "dead", "refused"))
        selection = select("--journal", str(path))
        with journals.attached(selection.journals[0], selection) as it, it.transaction():
            assert it.outbox.dead.discard_many([1]) == [1]
        assert make.counters(owner)["discarded"] == 1
        assert (owner.epoch, it.epoch) == (1, 1)


def test_what_cannot_be_changed_is_not_touched(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.nova-compute-0.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute(f"PRAGMA user_version = {schema.VERSION}")
    before = path.read_bytes()
    selection = select("--journal", str(path))
    attached = journals.attached(selection.journals[0], selection)
    with pytest.raises(errors.InputError, match="is not a journal"), attached:
        pass
    assert path.read_bytes() == before
