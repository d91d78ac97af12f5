# SPDX-License-Identifier: Apache-2.0
"""The options of the ``[edge_bus]`` section.

Each can also stand in the query of the transport URL, which wins, and in the environment as
``OS_EDGE_BUS__<OPTION>``.
"""

from oslo_config import cfg

GROUP = "edge_bus"

_edge_bus_opts = [
    cfg.StrOpt(
        "journal_dir",
        default="/var/lib/nova/edge-bus",
        help="Directory of the journals. It must be on a local disk, and is made with mode 0700 "
        "when it does not exist. Several services and hosts may share it.",
    ),
    cfg.IntOpt(
        "journal_max_bytes",
        default=512 << 20,
        min=1 << 20,
        help="Largest size of one journal in bytes, its write-ahead log included. A full "
        "journal makes calls and casts raise an error; nothing is dropped.",
    ),
    cfg.IntOpt(
        "journal_retention",
        default=3600,
        min=0,
        help="Seconds for which applied records are kept, so that they can be shipped again "
        "when the database of the central site has to be restored to an earlier time. They make "
        "room when the journal needs it.",
    ),
    cfg.FloatOpt(
        "link_timeout",
        default=5.0,
        min=0.5,
        help="Seconds of silence after which the link to an endpoint is taken for cut.",
    ),
    cfg.StrOpt(
        "autonomy",
        default="auto",
        choices=["auto", "on", "off"],
        help="Whether a process goes on by itself while its centre cannot be reached: it then "
        "answers its own saves from the journal and its reads from a snapshot of what it was "
        "last told, and takes commands again when everything has been applied. auto: in "
        "nova-compute.",
    ),
    cfg.IntOpt(
        "snapshot_max_bytes",
        default=64 << 20,
        min=1 << 20,
        help="About how many bytes of the central state a process remembers that goes on by "
        "itself. What concerns its own host is kept beyond that.",
    ),
    cfg.FloatOpt(
        "refuse_after",
        default=10.0,
        min=0.1,
        help="Seconds after which a process that goes on by itself gives up a call that only "
        "the other side can answer and that must not be repeated, such as the creation of a "
        "row, while that side cannot be reached.",
    ),
    cfg.BoolOpt(
        "write_behind",
        default=False,
        help="Let a process that goes on by itself answer unconditional saves from the journal "
        "while it is linked, too. For sites with long round trips: errors that the centre then "
        "finds are no longer raised in the caller.",
    ),
    cfg.FloatOpt(
        "consumer_grace",
        default=10.0,
        min=0.0,
        help="Seconds for which an entry that a lost consumer may have received waits for that "
        "consumer to come back, before another one gets it.",
    ),
    cfg.IntOpt(
        "backlog_at_once",
        default=2,
        min=0,
        help="How many entries from before the end of a cut this process works on at a time "
        "where each takes long, of all senders together; each worker of a service counts by "
        "itself. What is sent now passes them by. More drain faster while the processors and "
        "the database can take it, and calls then wait longer. 0: as many as come.",
    ),
    cfg.IntOpt(
        "notification_ttl",
        default=86400,
        min=1,
        help="Seconds for which a notification is kept while nobody listens for it. Expired "
        "ones are counted.",
    ),
    cfg.StrOpt(
        "compression",
        default="auto",
        choices=["auto", "zstd", "none"],
        help="How batches are compressed on the wire. auto: zstd, except on the loopback "
        "interface, where bytes cost less than the time to compress them.",
    ),
    cfg.FloatOpt(
        "linger",
        default=5.0,
        min=0.0,
        help="Seconds for which a driver that is being closed waits for its outbox to drain. "
        "What is left then stays in the journal and is shipped by the next process that opens "
        "it.",
    ),
    cfg.FloatOpt(
        "adoption_interval",
        default=30.0,
        min=1.0,
        help="Seconds between two searches for journals of this host that have lost their "
        "process and still hold entries.",
    ),
    cfg.StrOpt(
        "listen",
        default="",
        help="Host an endpoint at this address, such as tcp://127.0.0.1:5570, inside the first "
        "process of the service that can bind it; another process takes over when that one "
        "ends. Empty: host none.",
    ),
    cfg.StrOpt(
        "metrics_listen",
        default="",
        help="Serve metrics for Prometheus, and health, over HTTP at this address, such as "
        "127.0.0.1:9571, for all processes of this host that share journal_dir: the first one "
        "that can bind it does so, another takes over when that one ends. PORT alone means "
        "127.0.0.1; nothing there is encrypted. Empty: serve none.",
    ),
    cfg.BoolOpt(
        "allow_insecure",
        default=False,
        help="Allow connections beyond the loopback interface to be unencrypted where there are "
        "no keys. Where there are, they are used.",
    ),
    cfg.StrOpt(
        "curve_dir",
        default="/etc/nova/edge-bus",
        help="Directory of the keys that encrypt connections and tell who is at the other end; "
        "see 'nova-edge-bus keys'. A hosted endpoint has endpoint.key and the clients in "
        "enrolled/ there.",
    ),
    cfg.StrOpt(
        "curve_key_file",
        default="peer.key",
        help="File with the secret key of this service, within curve_dir unless the path is "
        "absolute. Without it only endpoints on the loopback interface are dialled.",
    ),
    cfg.ListOpt(
        "curve_server_keys",
        default=[],
        help="Public keys that endpoints may have, as KEY for any of them or HOST=KEY for the "
        "one that the transport URL names HOST; several while an endpoint changes its key. "
        "Empty: those of the files NAME.pub in endpoints/ within curve_dir.",
    ),
    cfg.DictOpt(
        "contracts",
        default={},
        help="Contracts of single calls in place of the published ones, as METHOD:CONTRACT with "
        "commas between them, such as Migration.save:relay,ComputeAPI.attach_interface:relay. "
        "'nova-edge-bus contracts' lists the methods; what cannot work is refused at the start.",
    ),
]


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """All options by section, for oslo-config-generator and for :func:`register`."""
    return [(GROUP, list(_edge_bus_opts))]


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options with *conf*; doing so twice does no harm."""
    for group, options in list_opts():
        conf.register_opts(options, group=group)
