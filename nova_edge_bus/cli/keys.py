# SPDX-License-Identifier: Apache-2.0
"""``nova-edge-bus keys``: make key pairs, and say whom an endpoint admits."""

import argparse
import dataclasses
import datetime
import pathlib
import re
import sys
import time
import typing

from nova_edge_bus import errors
from nova_edge_bus.cli import output
from nova_edge_bus.keys import enrolment
from nova_edge_bus.keys import files
from nova_edge_bus.protocol import identity

DEFAULT_DIRECTORY = "/etc/nova/edge-bus"
_DAYS = re.compile(r"([0-9]{1,5})d")
_SHORTEST = 8
"""Digits at least by which a key is named."""


def register(subparsers: typing.Any) -> None:
    """Add the subcommands' parsers."""
    group = subparsers.add_parser(
        "keys",
        help="make key pairs; enrol, revoke and list the clients of an endpoint",
        description="The keys by which peers and endpoints know each other. Endpoints see what "
        "is enrolled and revoked at once, without a restart.",
    )
    verbs = group.add_subparsers(metavar="VERB", required=True)
    _register_new(verbs)
    _register_enroll(verbs)
    _register_revoke(verbs)
    listing = verbs.add_parser(
        "list", help="list the enrolled keys", description="List the keys enrolled here."
    )
    listing.add_argument("--host", metavar="HOST", help="only keys of this host")
    _add_common(listing, changes=False)
    listing.set_defaults(run=run_list)


def _register_new(verbs: typing.Any) -> None:
    parser = verbs.add_parser(
        "new",
        help="make a key pair",
        description="Make a key pair, NAME.key (the secret, mode 0600) and NAME.pub. Nothing is "
        "overwritten, and the secret is never shown.",
    )
    parser.add_argument(
        "name", metavar="NAME", help="'peer' for a host's services, 'endpoint' for an endpoint"
    )
    parser.add_argument(
        "--owner", default="", metavar="USER", help="give the files to USER, such as nova"
    )
    _add_common(parser)
    parser.set_defaults(run=run_new)


def _register_enroll(verbs: typing.Any) -> None:
    parser = verbs.add_parser(
        "enroll",
        help="admit a key, as a host in a role",
        description="Enrol a public key at this endpoint. A key that is enrolled already gets a "
        "new time of expiry; a host may have several keys.",
    )
    parser.add_argument(
        "key", metavar="KEY", help="a public key of 64 digits, or a file NAME.pub that holds one"
    )
    parser.add_argument(
        "--host", required=True, metavar="HOST", help="what the host calls itself ([DEFAULT] host)"
    )
    parser.add_argument(
        "--role",
        required=True,
        choices=[each.value for each in identity.Role],
        help="what runs there; centre: any service but nova-compute",
    )
    parser.add_argument(
        "--expires",
        type=_expiry,
        metavar="TIME",
        help="when it ends: 2027-01-31T00:00:00Z, or 365d from now (default: never)",
    )
    _add_common(parser)
    parser.set_defaults(run=run_enroll)


def _register_revoke(verbs: typing.Any) -> None:
    parser = verbs.add_parser(
        "revoke",
        help="admit a key no more",
        description="Revoke keys for good. Sessions that they opened are closed.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "key", nargs="?", metavar="KEY", help="a public key, its fingerprint, or a file NAME.pub"
    )
    which.add_argument("--host", metavar="HOST", help="all keys of this host")
    _add_common(parser)
    parser.set_defaults(run=run_revoke)


def _add_common(parser: argparse.ArgumentParser, *, changes: bool = True) -> None:
    parser.add_argument(
        "--dir",
        "--curve-dir",
        type=pathlib.Path,
        default=pathlib.Path(DEFAULT_DIRECTORY),
        metavar="DIR",
        help="directory of the keys, [edge_bus] curve_dir (default: %(default)s)",
    )
    if changes:
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_new(args: argparse.Namespace) -> int:
    """Make a pair.

    :raises KeyFileError: when a file is there already or cannot be written
    """
    secret, public = files.paths_of(args.dir, args.name)
    shown: dict[str, object] = {
        "dry_run": args.dry_run,
        "secret_file": str(secret),
        "public_file": str(public),
    }
    if args.dry_run:
        files.check_free(args.dir, args.name)
    else:
        pair = files.generate()
        files.write_pair(args.dir, args.name, pair, args.owner)
        shown["public_key"] = pair.public.hex()
        shown["fingerprint"] = files.fingerprint(pair.public)
    if args.json:
        output.print_json(shown)
    elif args.dry_run:
        print(f"would make {secret} and {public}")
    else:
        print(f"made {secret} and {public}")
        print(f"public key {shown['public_key']}")
    return 0


def run_enroll(args: argparse.Namespace) -> int:
    """Admit a key.

    :raises KeyFileError: when the key is none, is revoked, or is another's already
    """
    directory = args.dir / enrolment.DIRECTORY
    public = _public_key(args.key)
    who = enrolment.identity_of(args.host, args.role, "--host and --role")
    wanted = enrolment.Enrolled(public, who, args.expires)
    path = enrolment.path_of(directory, public)
    present = enrolment.read(path) if path.exists() else None
    if present is not None:
        _check_same(present, wanted)
    if present != wanted and not args.dry_run:
        enrolment.write(directory, wanted)
    changed = present != wanted
    if args.json:
        output.print_json({"dry_run": args.dry_run, "changed": changed, **_as_json(wanted)})
    else:
        did = "would enroll" if args.dry_run else "enrolled"
        name = f"{wanted.fingerprint} as {who.role.value} of host {who.host}"
        print(f"{did} {name}" if changed else f"{name} was enrolled before")
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    """Admit keys no more.

    :raises KeyFileError: when no such key is enrolled
    """
    directory = args.dir / enrolment.DIRECTORY
    chosen = _chosen(directory, args.key, args.host)
    now = float(int(time.time()))
    revoked = [dataclasses.replace(each, revoked=now) for each in chosen if each.revoked is None]
    if not args.dry_run:
        for each in revoked:
            enrolment.write(directory, each)
    if args.json:
        keys = [_as_json(each) for each in revoked]
        output.print_json({"dry_run": args.dry_run, "revoked": keys})
        return 0
    for each in revoked:
        who = f"{each.fingerprint}, {each.identity.role.value} of host {each.identity.host}"
        print(f"{'would revoke' if args.dry_run else 'revoked'} {who}")
    if not revoked:
        print("revoked before")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """List what is enrolled; 1 when a file cannot be used, which is then not admitted either.

    :raises KeyFileError: when the directory is not there or cannot be read
    """
    if not args.dir.is_dir():
        raise errors.KeyFileError(f"there is no directory {args.dir}; --dir names another one")
    good: list[enrolment.Enrolled] = []
    status = 0
    for each in enrolment.read_all(args.dir / enrolment.DIRECTORY):
        if isinstance(each, errors.KeyFileError):
            print(f"nova-edge-bus: {each}", file=sys.stderr)
            status = 1
        elif args.host in (None, each.identity.host):
            good.append(each)
    good.sort(key=lambda each: (each.identity.host, each.identity.role.value, each.fingerprint))
    if args.json:
        output.print_json_list(map(_as_json, good))
    else:
        rows = [_cells(_as_json(each)) for each in good]
        output.print_table(("FINGERPRINT", "HOST", "ROLE", "STATE", "EXPIRES"), rows)
    return status


def _as_json(each: enrolment.Enrolled) -> dict[str, str | None]:
    now = time.time()
    expired = each.expires is not None and now >= each.expires
    return {
        "fingerprint": each.fingerprint,
        "public_key": each.public.hex(),
        "host": each.identity.host,
        "role": each.identity.role.value,
        "state": "revoked" if each.revoked is not None else "expired" if expired else "valid",
        "expires": None if each.expires is None else enrolment.moment(each.expires),
        "revoked": None if each.revoked is None else enrolment.moment(each.revoked),
    }


def _cells(shown: dict[str, str | None]) -> list[str]:
    names = ("fingerprint", "host", "role", "state", "expires")
    return [shown[name] or "never" for name in names]


def _check_same(present: enrolment.Enrolled, wanted: enrolment.Enrolled) -> None:
    if present.revoked is not None:
        raise errors.KeyFileError(
            f"key {present.fingerprint} {present.objection(0)} and stays so; make a new pair "
            "with 'nova-edge-bus keys new'"
        )
    if (present.public, present.identity) != (wanted.public, wanted.identity):
        raise errors.KeyFileError(
            f"key {present.fingerprint} is enrolled as {present.identity.role.value} of host "
            f"{present.identity.host}; a key has one owner: make another pair"
        )


def _public_key(text: str) -> bytes:
    """The key that is given as such or by its file."""
    path = pathlib.Path(text)
    if path.suffix == files.PUBLIC_SUFFIX or path.exists():
        return files.parse_key(files.read(path).get("public_key"), f"public_key of {path}")
    return files.parse_key(text, repr(text))


def _chosen(
    directory: pathlib.Path, key: str | None, host: str | None
) -> list[enrolment.Enrolled]:
    """The enrolled keys that are meant.

    :raises KeyFileError: when there is none
    """
    found: list[enrolment.Enrolled] = []
    digits = _digits(key) if key is not None else None
    for each in enrolment.read_all(directory):
        if isinstance(each, errors.KeyFileError):
            print(f"nova-edge-bus: {each}", file=sys.stderr)
        elif each.identity.host == host or (digits and each.public.hex().startswith(digits)):
            found.append(each)
    if not found:
        wanted = f"host {host}" if host is not None else f"key {key}"
        raise errors.KeyFileError(
            f"{wanted} is not enrolled in {directory}; see 'nova-edge-bus keys list'"
        )
    return found


def _digits(key: str) -> str:
    if key.endswith(files.PUBLIC_SUFFIX):
        return _public_key(key).hex()
    if not re.fullmatch(f"[0-9a-f]{{{_SHORTEST},64}}", key.lower()):
        raise errors.KeyFileError(
            f"{key!r} names no key: give the fingerprint, the public key or a file NAME.pub"
        )
    return key.lower()


def _expiry(text: str) -> float:
    days = _DAYS.fullmatch(text)
    if days is not None:
        return float(int(time.time()) + int(days[1]) * 86400)
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2027-01-31T00:00:00Z nor one such as 365d"
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()
