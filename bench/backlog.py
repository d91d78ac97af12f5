# SPDX-License-Identifier: Apache-2.0
"""A journal with what its host wrote while it was cut off."""

import collections.abc
import dataclasses
import itertools
import pathlib
import time
import typing

import oslo_messaging
from oslo_config import cfg

from nova_edge_bus import addressing
from nova_edge_bus import contracts
from nova_edge_bus import settings as settings_module
from nova_edge_bus.autonomy import bodies
from nova_edge_bus.autonomy import notes
from nova_edge_bus.driver import body
from nova_edge_bus.driver import configuration
from nova_edge_bus.journal import entries
from nova_edge_bus.journal import journal
from nova_edge_bus.journal import slots
from nova_edge_bus.protocol import messages

Dict = dict[str, typing.Any]
_TOPIC = addressing.Address("", "nova", "conductor").text
_BATCH = 250
_JOURNAL_BYTES = 8 << 30
"""Room for what no host writes in a day."""


def settings(
    url: str, service: str, host: str, directory: pathlib.Path
) -> settings_module.Settings:
    """What the driver would read from *url* in the process *service* of *host*.

    :param directory: of the journals
    """
    cfg.CONF([], project="nova", prog=service, default_config_files=[], default_config_dirs=[])
    known = configuration.read(cfg.CONF, oslo_messaging.TransportURL.parse(cfg.CONF, url))
    return dataclasses.replace(
        known,
        host=host,
        service=service,
        journal_dir=str(directory),
        journal_max_bytes=_JOURNAL_BYTES,
        autonomy="off",
    )


def fill(
    known: settings_module.Settings, saves: collections.abc.Iterable[tuple[Dict, Dict]]
) -> int:
    """Journal *saves*, each a context and a message for the conductor, in their order.

    :returns: how many bytes they have
    """
    size = 0
    with slots.take(known.journal_dir, known.host, known.service) as slot:
        opened = journal.Journal.open(
            slot.path, max_bytes=known.journal_max_bytes, retention=known.journal_retention
        )
        # One after the other, for the next save may be the same message with other contents.
        remaining = (_entry(known, *save) for save in saves)
        while new := list(itertools.islice(remaining, _BATCH)):
            size += sum(len(entry.body) for entry in new)
            with opened.transaction():
                opened.outbox.append_many(new)
        opened.close()
    return size


def _note(message: Dict) -> Dict:
    """What a host notes on a save that it answers itself: whose the instance was then."""
    host = notes.host_of(message)
    return {} if host is None else {"instance_host": host}


def _entry(known: settings_module.Settings, ctxt: Dict, message: Dict) -> entries.NewEntry:
    terms = contracts.classify(message, is_call=True)
    return entries.NewEntry(
        link=known.link,
        address=_TOPIC,
        kind=int(messages.Kind.RECORD),
        group=terms.group,
        method=terms.method,
        body=bodies.noted(body.pack(ctxt, message), _note(message)),
        consumer=None,
        created_at=time.time(),
        expires_at=None,
    )
