# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus keys``: what it does, prints and refuses."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest

from nova_edge_bus.cli import main
from nova_edge_bus.keys import enrolment
from nova_edge_bus.keys import files

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "doc" / "source" / "security.rst"
VERBS = ("new", "enroll", "revoke", "list")


class Command:
    """Runs the command on a directory."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: pathlib.Path) -> None:
        self._capsys = capsys
        self.directory = directory

    def __call__(self, verb: str, *arguments: str) -> str:
        """What a run that succeeds prints."""
        status, out, err = self.run(verb, *arguments)
        assert (status, err) == (0, "")
        return out

    def json(self, verb: str, *arguments: str) -> Any:
        return json.loads(self(verb, *arguments, "--json"))

    def refused(self, verb: str, *arguments: str) -> str:
        """The one line of a run that does not."""
        before = self.picture()
        status, out, err = self.run(verb, *arguments)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert self.picture() == before
        return err

    def run(self, verb: str, *arguments: str) -> tuple[int, str, str]:
        status = main.main(["keys", verb, *arguments, "--dir", str(self.directory)])
        out, err = self._capsys.readouterr()
        return status, out, err

    def picture(self) -> dict[str, bytes]:
        found = (path for path in self.directory.rglob("*") if path.is_file())
        return {str(path.relative_to(self.directory)): path.read_bytes() for path in found}

    def enroll(self, host: str, *more: str) -> str:
        """Enrol a new key of a compute and return it."""
        key = files.generate().public.hex()
        self("enroll", key, "--host", host, "--role", "compute", *more)
        return key


@pytest.fixture
def keys(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> Command:
    return Command(capsys, tmp_path / "edge-bus")


def test_new_makes_a_pair_and_keeps_its_secret(keys: Command) -> None:
    said = keys("new", "peer")
    pair = files.read_pair(keys.directory / "peer.key")
    assert said == (
        f"made {keys.directory}/peer.key and {keys.directory}/peer.pub\n"
        f"public key {pair.public.hex()}\n"
    )
    shown = keys.json("new", "endpoint")
    other = files.read_pair(keys.directory / "endpoint.key")
    assert shown["public_key"] == other.public.hex()
    assert shown["fingerprint"] == other.public.hex()[:16]
    assert other.secret.hex() not in json.dumps(shown)


def test_new_never_overwrites(keys: Command) -> None:
    keys("new", "peer")
    assert "will not overwrite" in keys.refused("new", "peer")
    assert "will not overwrite" in keys.refused("new", "peer", "--dry-run")


def test_list_takes_no_wrong_directory_for_an_empty_one(keys: Command) -> None:
    assert f"there is no directory {keys.directory}" in keys.refused("list")


def test_new_gives_the_files_to_their_user(keys: Command) -> None:
    assert "no user 'nobody-here'" in keys.refused("new", "peer", "--owner", "nobody-here")


def test_enroll_takes_a_key_or_its_file(keys: Command) -> None:
    keys("new", "peer")
    public = files.read_pair(keys.directory / "peer.key").public
    keys("enroll", str(keys.directory / "peer.pub"), "--host", "edge-7", "--role", "compute")
    (row,) = keys.json("list")
    assert row == {
        "fingerprint": public.hex()[:16],
        "public_key": public.hex(),
        "host": "edge-7",
        "role": "compute",
        "state": "valid",
        "expires": None,
        "revoked": None,
    }
    again = keys("enroll", public.hex(), "--host", "edge-7", "--role", "compute")
    assert "was enrolled before" in again


def test_a_key_has_one_owner(keys: Command) -> None:
    key = keys.enroll("edge-7")
    for other in (("edge-8", "compute"), ("edge-7", "conductor")):
        said = keys.refused("enroll", key, "--host", other[0], "--role", other[1])
        assert "is enrolled as compute of host edge-7" in said


def test_a_host_may_have_two_keys_and_a_key_another_expiry(keys: Command) -> None:
    first = keys.enroll("edge-7")
    keys.enroll("edge-7")
    later = ("--host", "edge-7", "--role", "compute", "--expires", "2099-01-31")
    assert keys.json("enroll", first, *later)["changed"] is True
    rows = keys.json("list", "--host", "edge-7")
    assert {row["public_key"]: row["expires"] for row in rows}[first] == "2099-01-31T00:00:00Z"
    assert len(rows) == 2


def test_revoke_is_for_good(keys: Command) -> None:
    key, other = keys.enroll("edge-7"), keys.enroll("edge-8")
    assert keys("revoke", key[:16]) == f"revoked {key[:16]}, compute of host edge-7\n"
    assert keys("revoke", key) == "revoked before\n"
    states = {row["public_key"]: row["state"] for row in keys.json("list")}
    assert states == {key: "revoked", other: "valid"}
    said = keys.refused("enroll", key, "--host", "edge-7", "--role", "compute")
    assert "was revoked at" in said
    assert "'nova-edge-bus keys new'" in said


def test_revoke_all_keys_of_a_host(keys: Command) -> None:
    mine = {keys.enroll("edge-7"), keys.enroll("edge-7")}
    keys.enroll("edge-70")
    revoked = keys.json("revoke", "--host", "edge-7")["revoked"]
    assert {row["public_key"] for row in revoked} == mine


@pytest.mark.parametrize("named", ["0" * 16, "--host=nobody"])
def test_revoke_of_what_is_not_enrolled(keys: Command, named: str) -> None:
    keys.enroll("edge-7")
    assert "is not enrolled" in keys.refused("revoke", named)


@pytest.mark.parametrize("named", ["", "0", "edge-7", "../../etc/passwd"])
def test_revoke_of_what_is_no_key(keys: Command, named: str) -> None:
    keys.enroll("edge-7")
    assert "names no key" in keys.refused("revoke", named)


def test_list_is_a_table_by_host(keys: Command) -> None:
    late = keys.enroll("edge-8", "--expires", "2020-01-31T00:00:00Z")
    key = keys.enroll("edge-7")
    lines = keys("list").splitlines()
    assert [line.split() for line in lines] == [
        ["FINGERPRINT", "HOST", "ROLE", "STATE", "EXPIRES"],
        [key[:16], "edge-7", "compute", "valid", "never"],
        [late[:16], "edge-8", "compute", "expired", "2020-01-31T00:00:00Z"],
    ]


def test_a_list_of_nothing(keys: Command) -> None:
    keys.directory.mkdir()
    assert (keys("list"), keys.json("list")) == ("", [])


def test_a_file_that_cannot_be_used_is_named_and_the_others_are_listed(keys: Command) -> None:
    key = keys.enroll("edge-7")
    broken = keys.directory / enrolment.DIRECTORY / f"{'0' * 16}.pub"
    broken.write_text("{")
    status, out, err = keys.run("list", "--json")
    assert (status, [row["public_key"] for row in json.loads(out)]) == (1, [key])
    assert err == f"nova-edge-bus: {broken} is not a JSON object\n"
    status, out, _ = keys.run("revoke", key)
    assert (status, out.startswith("revoked")) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [("new", "peer"), ("enroll", "ab" * 32, "--host", "h", "--role", "api"), ("revoke", "KEY")],
)
def test_a_dry_run_changes_nothing(keys: Command, arguments: tuple[str, ...]) -> None:
    key = keys.enroll("edge-7")
    before = keys.picture()
    given = [key if each == "KEY" else each for each in arguments]
    assert keys(*given, "--dry-run").startswith("would ")
    assert keys.json(*given, "--dry-run")["dry_run"] is True
    assert keys.picture() == before


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("new",),
        ("enroll", "ab" * 32),
        ("enroll", "ab" * 32, "--host", "h", "--role", "king"),
        ("enroll", "ab" * 32, "--host", "h", "--role", "api", "--expires", "soon"),
        ("revoke",),
        ("revoke", "0" * 16, "--host", "h"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["keys", *arguments])
    assert ended.value.code == 2


@pytest.mark.parametrize("key", ["ab", "zz" * 32, "nothing.pub"])
def test_what_is_no_public_key(keys: Command, key: str) -> None:
    said = keys.refused("enroll", key, "--host", "h", "--role", "api")
    assert "is not a key" in said or "cannot read" in said


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_shows_each_verb_and_option(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.main(["keys", verb, "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    text = DOCUMENT.read_text()
    assert f"keys {verb}" in text
    assert {option for option in options if f"``{option}" not in text} == set()
