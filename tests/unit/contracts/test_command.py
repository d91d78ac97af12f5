# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus contracts``: what it prints, picks and refuses."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from nova_edge_bus import contracts
from nova_edge_bus.cli import contracts as command
from nova_edge_bus.cli import main
from nova_edge_bus.contracts import table

Capture = pytest.CaptureFixture[str]


def printed(capsys: Capture, *arguments: str) -> list[str]:
    """The lines of a run that succeeds."""
    status = main.main(["contracts", *arguments])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out.splitlines()


def listed(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads("\n".join(printed(capsys, "--json", *arguments)))
    return rows


def failed(capsys: Capture, *arguments: str) -> tuple[int, str]:
    """The status and the one line of a run that fails and prints nothing else."""
    status = main.main(["contracts", *arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return status, err


def cells(lines: list[str]) -> list[tuple[str, ...]]:
    """Read the columns back, where a long name stands on a line of its own."""
    heading = lines[0]
    starts = [heading.index(name) for name in table.HEADINGS]
    rows: list[tuple[str, ...]] = []
    name = ""
    for line in lines[1:]:
        if len(line.split()) == 1:
            name = line
            continue
        ends = [*starts[1:], None]
        first, *others = (line[start:end].strip() for start, end in zip(starts, ends, strict=True))
        rows.append((first or name, *others))
    return rows


def file_of(folder: pathlib.Path, text: str) -> str:
    path = folder / "nova.conf"
    path.write_text(text)
    return str(path)


# What it prints


def test_all_rows_are_printed_in_columns_that_fit(capsys: Capture) -> None:
    lines = printed(capsys)
    assert max(len(line) for line in lines) <= command.WIDTH
    assert not any(line != line.rstrip() for line in lines)
    assert cells(lines) == [each.cells for each in table.listed({})]


def test_json_has_every_row_with_the_keys_that_stay(capsys: Capture) -> None:
    rows = listed(capsys)
    for shown, row in zip(rows, table.ROWS, strict=True):
        assert shown == {
            "name": row.name,
            "kind": row.kind.value,
            "contract": row.contract.value,
            "published": row.contract.value,
            "overridden": False,
            "group": row.group or None,
            "repeatable": row.repeatable,
            "last": row.last,
            "remark": row.remark,
        }


def test_a_remark_that_is_too_long_is_wrapped_under_itself() -> None:
    remark = "a remark of many words " * 5
    lines = command.lines([table.HEADINGS, ("A.b", "call", "record", "-", remark)])
    assert len(lines) == 3
    assert max(len(line) for line in lines) <= command.WIDTH
    assert lines[2].index("many") >= lines[0].index("why")


# What it picks


def test_a_text_picks_by_name_in_any_case(capsys: Capture) -> None:
    names = [row["name"] for row in listed(capsys, "MIGRATE_SERVER")]
    assert names == ["ComputeTaskAPI.migrate_server"] * 2


def test_a_contract_picks_and_goes_with_a_text(capsys: Capture) -> None:
    merged = [row["name"] for row in listed(capsys, "--contract", "merge")]
    assert merged == [
        "ComputeNode.save",
        "InstanceInfoCache.save",
        "PciDevice.save",
        "Service.save",
    ]
    assert [row["name"] for row in listed(capsys, "pci", "--contract", "merge")] == merged[2:3]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("Instance.get_by_uuid", "<object>.get*"),
        ("Aggregate.create", "Aggregate.*"),
        ("Instance.new_method", "<object>.*"),
    ],
)
def test_a_method_without_a_row_shows_the_one_that_stands_for_it(
    capsys: Capture, name: str, row: str
) -> None:
    assert [each["name"] for each in listed(capsys, name)] == [row]


# Overrides


def test_overrides_of_a_file_are_applied_and_marked(
    capsys: Capture, tmp_path: pathlib.Path
) -> None:
    file = file_of(
        tmp_path,
        "[DEFAULT]\ntransport_url = rabbit://nova:secret@ctl/?ssl=1&contracts=Service.save:relay\n"
        "[edge_bus]\ncontracts = Instance.save:relay,Instance.get_by_uuid:refuse\n",
    )
    marked = {row["name"]: row for row in listed(capsys, "--config-file", file)}
    assert {name for name, row in marked.items() if row["overridden"]} == {
        "Instance.save",
        "Instance.get_by_uuid",
    }
    save = marked["Instance.save"]
    assert (save["contract"], save["published"]) == ("relay", "record")
    assert marked["Instance.get_by_uuid"]["repeatable"] is False
    lines = printed(capsys, "Instance.save", "--config-file", file)
    assert lines[1].endswith("  relay     instance  overridden, was record")


def test_the_last_file_and_the_transport_url_win(capsys: Capture, tmp_path: pathlib.Path) -> None:
    first = file_of(tmp_path, "[edge_bus]\ncontracts = Instance.save:relay\n")
    second = tmp_path / "second.conf"
    second.write_text("[edge_bus]\ncontracts = Instance.save:refuse\n")
    files = ("--config-file", first, "--config-file", str(second))
    assert listed(capsys, "Instance.save", *files)[0]["contract"] == "refuse"
    second.write_text(
        "[DEFAULT]\ntransport_url = edgebus://ctl/?linger=1&contracts=Service.save:record\n"
    )
    assert listed(capsys, "Instance.save", *files)[0]["overridden"] is False
    assert listed(capsys, "Service.save", *files)[0]["contract"] == "record"


def test_the_cast_of_the_same_name_is_not_marked(capsys: Capture, tmp_path: pathlib.Path) -> None:
    file = file_of(tmp_path, "[edge_bus]\ncontracts = ComputeTaskAPI.migrate_server:relay\n")
    rows = listed(capsys, "migrate_server", "--config-file", file)
    assert [(row["kind"], row["contract"], row["overridden"]) for row in rows] == [
        ("call", "relay", True),
        ("cast", "command", False),
    ]


def test_the_environment_of_the_command_is_not_a_service_s(
    capsys: Capture, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_EDGE_BUS__CONTRACTS", "Service.save:record")
    file = file_of(tmp_path, "[edge_bus]\ncontracts = Instance.save:relay\n")
    rows = listed(capsys, "--config-file", file)
    assert [row["name"] for row in rows if row["overridden"]] == ["Instance.save"]


def test_a_same_contract_is_no_override(capsys: Capture, tmp_path: pathlib.Path) -> None:
    file = file_of(tmp_path, "[edge_bus]\ncontracts = Instance.save:record\n")
    assert not any(row["overridden"] for row in listed(capsys, "--config-file", file))


# What it refuses


def test_nothing_to_show_is_said(capsys: Capture) -> None:
    status, said = failed(capsys, "nothing", "--contract", "relay")
    assert status == 1
    assert said == "nova-edge-bus: no row of the table contains 'nothing' and is under relay\n"


def test_json_of_nothing_is_an_empty_list(capsys: Capture) -> None:
    assert main.main(["contracts", "nothing", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[edge_bus]\ncontracts = Instance.save:merge\n", "each of its entries counts"),
        ("[edge_bus]\ncontracts = Instance.saev:relay\n", "did you mean Instance.save?"),
        ("[edge_bus]\ncontracts = Instance.save\n", "NAME:VALUE"),
        ("edge_bus\n", "Failed to parse"),
        ("[DEFAULT]\ntransport_url = edgebus://ctl/?contracts=Instance.save\n", "NAME:VALUE"),
        ("[DEFAULT]\ntransport_url = edgebus://[ctl/?contracts=Instance.save:relay\n", "IPv6"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    capsys: Capture, tmp_path: pathlib.Path, text: str, said: str
) -> None:
    status, err = failed(capsys, "--config-file", file_of(tmp_path, text))
    assert status == 1
    assert said in err


def test_a_file_that_cannot_be_read_is_one_line(capsys: Capture, tmp_path: pathlib.Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        status, said = failed(capsys, "--config-file", str(path))
        assert status == 1
        assert str(path) in said


def test_an_unknown_contract_is_a_wrong_command_line(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["contracts", "--contract", "recrod"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "invalid choice: 'recrod'" in said
    assert all(each.value in said for each in contracts.Contract)
