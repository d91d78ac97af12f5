# SPDX-License-Identifier: Apache-2.0
"""Key files: what is written, what is refused, and what of it a reader believes."""

from __future__ import annotations

import json
import os
import pathlib
import stat

import pytest

from nova_edge_bus import errors
from nova_edge_bus.keys import enrolment
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import identity

EDGE = identity.Identity("edge-7", identity.Role.COMPUTE)


def mode_of(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_is_read_back_as_written(tmp_path: pathlib.Path) -> None:
    pair = files.generate()
    files.write_pair(tmp_path, "peer", pair)
    assert files.read_pair(tmp_path / "peer.key") == pair
    assert json.loads((tmp_path / "peer.pub").read_text()) == {"public_key": pair.public.hex()}


def test_a_secret_is_for_its_owner_alone(tmp_path: pathlib.Path) -> None:
    former = os.umask(0)
    try:
        files.write_pair(tmp_path / "new", "peer", files.generate())
    finally:
        os.umask(former)
    made = {path.name: mode_of(path) for path in (tmp_path / "new").iterdir()}
    assert made == {"peer.key": 0o600, "peer.pub": 0o644}
    assert mode_of(tmp_path / "new") == 0o700


@pytest.mark.parametrize("present", ["peer.key", "peer.pub"])
def test_nothing_is_overwritten(tmp_path: pathlib.Path, present: str) -> None:
    (tmp_path / present).write_text("mine")
    with pytest.raises(errors.KeyFileError, match="will not overwrite"):
        files.write_pair(tmp_path, "peer", files.generate())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {present: "mine"}


def test_two_who_write_at_once_do_not_overwrite_each_other(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.key"
    files.write(path, {"a": 1}, mode=0o600, replace=False)
    with pytest.raises(errors.KeyFileError, match="cannot write"):
        files.write(path, {"a": 2}, mode=0o600, replace=False)
    assert (files.read(path), [each.name for each in tmp_path.iterdir()]) == ({"a": 1}, ["a.key"])


def test_a_secret_does_not_show_in_a_repr() -> None:
    pair = files.generate()
    assert "secret" not in repr(pair)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o777])
def test_a_secret_that_others_can_get_at_is_not_used(tmp_path: pathlib.Path, mode: int) -> None:
    files.write_pair(tmp_path, "peer", files.generate())
    path = tmp_path / "peer.key"
    path.chmod(mode)
    with pytest.raises(errors.KeyFileError, match=f"mode {mode:04o} .* 'chmod 0600"):
        files.read_pair(path)
    path.chmod(0o640)
    files.read_pair(path)


def test_two_halves_that_do_not_belong_together(tmp_path: pathlib.Path) -> None:
    mixed = files.Pair(files.generate().public, files.generate().secret)
    files.write_pair(tmp_path, "peer", mixed)
    with pytest.raises(errors.KeyFileError, match="do not belong together") as caught:
        files.read_pair(tmp_path / "peer.key")
    assert mixed.secret.hex() not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ("{}", "secret_key of .* is not a key of 64 hexadecimal digits"),
        ('{"secret_key": "ab"}', "secret_key of .* is not a key"),
    ],
)
def test_what_is_no_pair(tmp_path: pathlib.Path, text: str, said: str) -> None:
    path = tmp_path / "peer.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(errors.KeyFileError, match=said):
        files.read_pair(path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b"])
def test_what_cannot_name_a_key(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(errors.KeyFileError, match="cannot name a key"):
        files.paths_of(tmp_path, name)


def test_an_enrolment_is_read_back_as_written(tmp_path: pathlib.Path) -> None:
    for enrolled in (
        enrolment.Enrolled(files.generate().public, EDGE),
        enrolment.Enrolled(files.generate().public, EDGE, expires=1.9e9, revoked=1.8e9),
    ):
        path = enrolment.write(tmp_path, enrolled)
        assert path.name == f"{enrolled.public.hex()[:16]}.pub"
        assert enrolment.read(path) == enrolled
    assert len(list(enrolment.read_all(tmp_path))) == 2


def test_an_enrolment_counts_until_it_expires_or_is_revoked() -> None:
    enrolled = enrolment.Enrolled(b"k" * 32, EDGE, expires=100.0)
    assert enrolled.objection(99.0) == ""
    assert enrolled.objection(100.0) == "expired at 1970-01-01T00:01:40Z"
    revoked = enrolment.Enrolled(b"k" * 32, EDGE, revoked=50.0)
    assert revoked.objection(0.0) == "was revoked at 1970-01-01T00:00:50Z"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"public_key": "ab" * 31}, "public_key of .* is not a key"),
        ({"host": ""}, "is not the name of a host"),
        ({"host": "a/b"}, "is not the name of a host"),
        ({"host": None}, "is not the name of a host"),
        ({"role": "king"}, "role 'king' is not one of compute, conductor"),
        ({"role": ["compute"]}, "is not one of"),
        ({"expires": "soon"}, "expires of .* is no time with an offset"),
        ({"expires": 5}, "expires of .* is no time with an offset"),
        ({"revoked": "2027-01-31T00:00:00"}, "revoked of .* is no time with an offset"),
        ({"expire": "2027-01-31T00:00:00Z"}, "unknown fields: expire"),
    ],
)
def test_what_is_no_enrolment(
    tmp_path: pathlib.Path, change: dict[str, object], said: str
) -> None:
    key = files.generate().public.hex()
    content = {"public_key": key, "host": "edge-7", "role": "compute", **change}
    path = tmp_path / f"{key[:16]}.pub"
    path.write_text(json.dumps(content))
    with pytest.raises(errors.KeyFileError, match=said):
        enrolment.read(path)
    (found,) = enrolment.read_all(tmp_path)
    assert isinstance(found, errors.KeyFileError)


def test_an_enrolment_is_named_by_its_key(tmp_path: pathlib.Path) -> None:
    """Under another name it would be listed, and never found at a handshake."""
    path = enrolment.write(tmp_path, enrolment.Enrolled(files.generate().public, EDGE))
    with pytest.raises(errors.KeyFileError, match="must be named"):
        enrolment.read(path.rename(tmp_path / "edge-7.pub"))
