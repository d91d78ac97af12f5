# SPDX-License-Identifier: Apache-2.0
"""Configuration files of the services of a stack."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Mapping

Options = Mapping[str, Mapping[str, object]]

COMPUTE_DRIVER = "persistent_fake.PersistentFakeDriver"
SCHEDULER: Options = {"scheduler": {"workers": 1}}
_AUTHTOKEN = "keystonemiddleware.auth_token:filter_factory"
_ADMIN_FILTER = "tests.nova.rest_stub:admin_filter_factory"


def merged(*layers: Options) -> dict[str, dict[str, object]]:
    """Return the options of all layers; the later layer wins."""
    result: dict[str, dict[str, object]] = {}
    for layer in layers:
        for section, options in layer.items():
            result.setdefault(section, {}).update(options)
    return result


def write(path: pathlib.Path, options: Options) -> pathlib.Path:
    """Write an oslo.config file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for section, values in options.items():
        lines.append(f"[{section}]")
        # oslo.config substitutes $name in values
        lines.extend(f"{name} = {str(value).replace('$', '$$')}" for name, value in values.items())
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def write_api_paste(path: pathlib.Path) -> pathlib.Path:
    """Write nova's own pipeline with a stand-in for keystone's filter.

    nova-api 34 has no auth_strategy that would do without keystone.
    """
    shipped = pathlib.Path(sys.prefix, "etc", "nova", "api-paste.ini").read_text()
    if _AUTHTOKEN not in shipped:
        raise ValueError(f"nova's api-paste.ini does not name {_AUTHTOKEN}")
    path.write_text(shipped.replace(_AUTHTOKEN, _ADMIN_FILTER))
    return path


def placement(database: str) -> Options:
    """Return placement.conf."""
    return {
        "DEFAULT": {"debug": False},
        "api": {"auth_strategy": "noauth2"},
        "placement_database": {"connection": database, "sqlite_synchronous": False},
    }


def service(state: pathlib.Path, transport_url: str, stub_url: str, placement_url: str) -> Options:
    """Return what every nova service is told.

    :param state: a directory of the service's own
    :param stub_url: where glance and neutron answer
    """
    stand_in = {"auth_type": "admin_token", "token": "admin"}

    def rest(url: str) -> dict[str, object]:
        return {**stand_in, "endpoint": url, "endpoint_override": url}

    return {
        "DEFAULT": {
            "debug": True,
            "state_path": state,
            "transport_url": transport_url,
            "compute_driver": COMPUTE_DRIVER,
            "my_ip": "127.0.0.1",
            # nova waits this long for running requests at SIGTERM, 180 s by default
            "graceful_shutdown_timeout": 45,
            "manager_shutdown_timeout": 30,
            "log_options": False,
            "default_log_levels": "amqp=ERROR,sqlalchemy=WARN,oslo.messaging=INFO,"
            "oslo_messaging=INFO,oslo_policy=INFO,routes.middleware=INFO,stevedore=CRITICAL,"
            "urllib3.connectionpool=WARN,keystoneauth=INFO,neutronclient=ERROR,"
            "oslo_concurrency.lockutils=INFO,oslo_db=INFO",
        },
        "oslo_concurrency": {"lock_path": state / "locks"},
        "placement": rest(placement_url),
        "neutron": rest(stub_url),
        "glance": rest(stub_url),
        "vnc": {"enabled": False},
        "quota": {"driver": "nova.quota.NoopQuotaDriver"},
        "workarounds": {"disable_rootwrap": True},
    }


def databases(api: str, cell: str) -> Options:
    """Return what the services with database access are told; nova-compute has none."""
    return {
        "api_database": {"connection": api, "sqlite_synchronous": False},
        "database": {"connection": cell, "sqlite_synchronous": False},
    }


def conductor(host: str, workers: int) -> Options:
    """Return what one nova-conductor is told besides."""
    return {"DEFAULT": {"host": host}, "conductor": {"workers": workers}}


def compute(host: str) -> Options:
    """Return what one nova-compute is told besides."""
    return {"DEFAULT": {"host": host}}


def edge(guarded: Mapping[str, str]) -> Options:
    """Return what nova-compute is told at an edge host, where REST is cut off with the bus.

    The reasons stand in the section "nova.conf of an edge host" of doc/source/nova.rst.

    :param guarded: the REST guard's URL of each service, by section
    """
    options: dict[str, dict[str, object]] = {
        section: {"endpoint": url, "endpoint_override": url, "timeout": 60}
        for section, url in guarded.items()
    }
    options["placement"]["connect_retries"] = 2
    options["glance"]["num_retries"] = 1
    return options


def environment(concurrency: str = "threading") -> dict[str, str]:
    """Return the environment of a nova process.

    Nova's WSGI application does not see concurrency_backend of nova.conf, so the environment says
    it to all alike.

    :param concurrency: threading or eventlet
    """
    root = str(pathlib.Path(__file__).resolve().parents[2])
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1" if concurrency == "threading" else "0",
    }
