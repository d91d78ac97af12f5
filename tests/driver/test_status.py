# SPDX-License-Identifier: Apache-2.0
"""What operators are told of a live process, its links and its destinations."""

from __future__ import annotations

import json
import os
import pathlib
import threading
from typing import Any

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.journal import status as records
from tests.driver import journals
from tests.driver.conftest import MakeEndpoint
from tests.driver.conftest import MakePeer
from tests.driver.conftest import RunProgram
from tests.driver.peers import Recorder
from tests.nova.processes import wait_until

Capture = pytest.CaptureFixture[str]
WAIT_SECONDS = 30.0


def shown(capsys: Capture, folder: pathlib.Path) -> dict[str, Any]:
    """What the command prints as JSON, of a folder with one journal."""
    status = main.main(["status", "--json", "--journal-dir", str(folder)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    whole: dict[str, Any] = json.loads(out)
    return whole


def test_a_live_process_s_links_and_destinations_are_shown(
    make_peer: MakePeer, make_endpoint: MakeEndpoint, topic: str, capsys: Capture
) -> None:
    endpoint = make_endpoint()
    server, peer = (make_peer(endpoint.url, link_timeout=1.0) for _ in range(2))
    server.serve(topic, "there", Recorder())
    assert peer.client(topic).call({}, "echo", value=1) == 1
    tcp = f"tcp://{endpoint.address}"

    wait_until(lambda: shown(capsys, peer.journal_dir)["linked"] == [tcp], WAIT_SECONDS, tcp)
    whole = shown(capsys, peer.journal_dir)
    (journal,) = whole["journals"]
    assert (whole["drained"], whole["pending"], whole["not_linked"]) == (True, 0, [])
    assert (journal["pid"], journal["process"], journal["current"]) == (
        os.getpid(),
        "running",
        True,
    )
    assert (journal["host"], journal["service"]) == ("edge-1", "nova-test")
    (destination,) = (each for each in journal["destinations"] if topic in each["address"])
    assert destination["state"] == "linked"
    assert journal["figures"]["links_made"] == 1
    assert journal["figures"]["shipped"] >= 1

    endpoint.kill()
    peer.client(topic).cast({}, "put", value=2)
    wait_until(lambda: shown(capsys, peer.journal_dir)["not_linked"] == [tcp], WAIT_SECONDS, tcp)
    whole = shown(capsys, peer.journal_dir)
    (journal,) = whole["journals"]
    assert (whole["drained"], whole["pending"]) == (False, 1)
    (destination,) = (each for each in journal["destinations"] if topic in each["address"])
    assert (destination["state"], destination["pending"]) == ("cut off", 1)
    assert journal["figures"]["links_lost"] == 1

    assert main.main(["status", "--journal-dir", str(peer.journal_dir)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("not drained: 1 entry pending, the oldest for ")
    assert first.endswith(f"; not linked to {tcp}")


def test_a_process_that_has_stopped_says_so(
    make_peer: MakePeer, topic: str, capsys: Capture
) -> None:
    peer = make_peer()
    assert peer.rpc
    peer.serve(topic, "here", Recorder())
    path = journals.only(peer.journal_dir)
    wait_until(lambda: records.read(str(path)) is not None, WAIT_SECONDS, "a record")
    peer.close()
    whole = shown(capsys, peer.journal_dir)
    (journal,) = whole["journals"]
    assert (journal["pid"], journal["process"], journal["current"]) == (None, "stopped", False)
    assert (whole["linked"], whole["not_linked"]) == ([], [])


def test_the_record_of_a_killed_process_is_not_taken_for_the_present(
    run_program: RunProgram, tmp_path: pathlib.Path, topic: str, capsys: Capture
) -> None:
    program = run_program("hold", topic=topic)
    program.expect("listening")
    folder = tmp_path / "journal"
    wait_until(lambda: bool(shown(capsys, folder)["linked"]), WAIT_SECONDS, "a link")
    (journal,) = shown(capsys, folder)["journals"]
    assert journal["pid"] == program.pid
    program.kill()
    (journal,) = shown(capsys, folder)["journals"]
    assert (journal["process"], journal["current"]) == ("running", False)


def test_a_disk_that_does_not_answer_holds_up_nothing_but_the_record(
    make_peer: MakePeer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, goes_on = threading.Event(), threading.Event()

    def write(journal: str, record: dict[str, Any]) -> None:
        stuck.set()
        assert goes_on.wait(WAIT_SECONDS)

    monkeypatch.setattr(records, "write", write)
    server, peer = make_peer(), make_peer()
    server.serve(topic, "there", Recorder())
    assert peer.rpc
    assert stuck.wait(WAIT_SECONDS)
    assert peer.client(topic).call({}, "echo", value=1) == 1
    goes_on.set()


def test_a_record_that_cannot_be_written_is_logged_and_tried_again(
    make_peer: MakePeer,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts: list[str] = []

    def write(journal: str, record: dict[str, Any]) -> None:
        attempts.append(record["state"])
        raise OSError("no space left")

    monkeypatch.setattr(records, "write", write)
    peer = make_peer()
    peer.serve(topic, "here", Recorder())
    wait_until(lambda: len(attempts) > 0, WAIT_SECONDS, "an attempt")
    peer.close()
    assert attempts[-1] == "stopped"
    assert caplog.text.count("cannot write the status of journal") == 1
