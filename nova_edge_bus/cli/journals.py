# SPDX-License-Identifier: Apache-2.0
"""Which journals a command is about, and how it opens them.

A command adds the arguments with :func:`add_arguments`, asks :func:`select` for what they mean,
and opens each journal with :func:`opened` to read it or with :func:`attached` to change it.
"""

import argparse
import contextlib
import dataclasses
import os
import urllib.parse
from collections.abc import Iterator

from oslo_config import cfg

from nova_edge_bus import errors
from nova_edge_bus import opts
from nova_edge_bus.journal import journal as journal_module
from nova_edge_bus.journal import reading
from nova_edge_bus.journal import slots


@dataclasses.dataclass(frozen=True, order=True)
class Journal:
    """A journal file. Host, service and number are None in one that was copied to another name."""

    path: str
    host: str | None
    service: str | None
    number: int | None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return os.path.basename(self.path)


@dataclasses.dataclass(frozen=True)
class Selection:
    """The journals that are meant, and the options under which their owners run.

    ``folder`` is None where files are named one by one.
    """

    journals: list[Journal]
    folder: str | None
    max_bytes: int
    retention: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose journals."""
    group = parser.add_argument_group(
        "journals",
        "Without any of these: all journals in the default of [edge_bus] journal_dir, or in "
        "OS_EDGE_BUS__JOURNAL_DIR.",
    )
    group.add_argument(
        "--config-file",
        action="append",
        metavar="FILE",
        help="take [edge_bus] journal_dir from the file of a service, such as nova.conf; may be "
        "repeated, later files win",
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument("--journal-dir", metavar="DIR", help="the journals in this folder")
    where.add_argument(
        "--journal",
        action="append",
        metavar="FILE",
        help="this journal, or a copy of one; may be repeated",
    )
    group.add_argument("--host", metavar="NAME", help="only journals of this host")
    group.add_argument(
        "--service", metavar="NAME", help="only journals of this service, such as nova-compute"
    )


def select(args: argparse.Namespace) -> Selection:
    """Find what the arguments of :func:`add_arguments` mean: at least one journal.

    :raises InputError: when there is none, or a file or folder cannot be read
    """
    conf = configuration(args.config_file or [])
    folder = None if args.journal else str(args.journal_dir or _journal_dir(conf))
    found = [_named(path) for path in args.journal or ()] if folder is None else _in(folder)
    wanted = [
        each
        for each in found
        if args.host in (None, each.host) and args.service in (None, each.service)
    ]
    if not wanted:
        raise errors.InputError(_none(args, folder, len(found)))
    section = conf[opts.GROUP]
    return Selection(wanted, folder, section.journal_max_bytes, section.journal_retention)


@contextlib.contextmanager
def opened(journal: Journal) -> Iterator[reading.Reader]:
    """Open a journal for reading; what keeps it from being opened is the input's fault.

    :raises InputError: when it cannot be opened
    """
    with contextlib.ExitStack() as stack:
        with _input():
            reader = stack.enter_context(reading.opened(journal.path))
        yield reader


@contextlib.contextmanager
def attached(journal: Journal, selection: Selection) -> Iterator[journal_module.Journal]:
    """Open a journal for changing it, beside its owner if it has one.

    Whatever is done belongs into its ``transaction()``, and into a short one.

    :raises InputError: when it cannot be opened
    """
    with _input(), reading.opened(journal.path):
        # Says what is wrong with the file before anything of it is touched.
        pass
    with _input():
        it = journal_module.Journal.attach(
            journal.path,
            max_bytes=selection.max_bytes,
            retention=selection.retention,
            read_only=False,
        )
    with contextlib.closing(it):
        yield it


@contextlib.contextmanager
def _input() -> Iterator[None]:
    try:
        yield
    except errors.JournalError as error:
        raise errors.InputError(str(error)) from error


def configuration(files: list[str], *, reads_url: bool = True) -> cfg.ConfigOpts:
    """Return the options of the bus, and the host's name, as the files of a service have them.

    :param reads_url: False where oslo.messaging is going to register the transport URL itself
    :raises InputError: when a file cannot be read or has a bad value
    """
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("host"))
    if reads_url:
        # The bus's own reader of URLs needs oslo.messaging, which takes long to load.
        conf.register_opt(cfg.StrOpt("transport_url", default="", secret=True))
    opts.register(conf)
    try:
        conf([], default_config_files=files, default_config_dirs=[])
        # What cannot be read as its type fails here, and not in the middle of something.
        for name in ("journal_dir", "journal_max_bytes", "journal_retention"):
            _ = conf[opts.GROUP][name]
    except (cfg.Error, ValueError, OSError) as error:
        raise errors.InputError(" ".join(str(error).split())) from error
    return conf


def _journal_dir(conf: cfg.ConfigOpts) -> str:
    """The option, which can stand in the transport URL as well and wins there."""
    try:
        url = urllib.parse.urlsplit(conf.transport_url or "")
    except ValueError as error:
        raise errors.InputError(f"transport_url cannot be read: {error}") from error
    in_url = urllib.parse.parse_qs(url.query).get("journal_dir")
    if url.scheme == "edgebus" and in_url:
        return in_url[-1]
    return str(conf[opts.GROUP].journal_dir)


def _in(folder: str) -> list[Journal]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        reason = error.strerror or str(error)
        raise errors.InputError(f"cannot look for journals in {folder}: {reason}") from error
    return sorted(_named(os.path.join(folder, name)) for name in names if slots.parse(name))


def _named(path: str) -> Journal:
    if not os.path.exists(path):
        raise errors.InputError(f"cannot read journal {path}: no such file")
    parsed = slots.parse(os.path.basename(path))
    return Journal(path, *(parsed or (None, None, None)))


def _none(args: argparse.Namespace, folder: str | None, found: int) -> str:
    wanted = [
        f"{option} {value}"
        for option, value in (("--host", args.host), ("--service", args.service))
        if value is not None
    ]
    place = "among the given files" if folder is None else f"in {folder}"
    if wanted and found:
        return f"none of the {found} journals {place} is of {' '.join(wanted)}"
    return f"no journal {place}; see [edge_bus] journal_dir, --journal-dir and --journal"
