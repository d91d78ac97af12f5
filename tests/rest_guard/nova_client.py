# SPDX-License-Identifier: Apache-2.0
"""nova's own clients, as nova-compute makes them, in a process of their own.

Run as ``python -m tests.rest_guard.nova_client NOVA_CONF``; it reads names of services from stdin,
calls each once, and says for each in a line of JSON what came of it. The clients are kept between
the calls, as nova-compute keeps them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from nova import config
from nova import context
from nova import objects
from nova.image import glance
from nova.network import neutron
from nova.scheduler.client import report

_IMAGE = "155d900f-4e14-4e4c-a73d-069cbf4541e6"


def call_placement() -> object:
    answer = report.report_client_singleton().get("/resource_providers", version="1.39")
    return answer.status_code


def call_neutron() -> object:
    return neutron.get_client(context.get_admin_context(), admin=True).list_ports()


def call_glance() -> object:
    user = context.RequestContext("user", "project", auth_token="token")
    return glance.get_default_image_service().show(user, _IMAGE)["name"]


CALLS: dict[str, Callable[[], object]] = {
    "placement": call_placement,
    "neutron": call_neutron,
    "glance": call_glance,
}


def main(nova_conf: str) -> None:
    """Make the calls."""
    config.parse_args(["nova-compute", "--config-file", nova_conf])
    objects.register_all()
    for line in sys.stdin:
        try:
            outcome = {"result": CALLS[line.strip()]()}
        except Exception as exc:
            outcome = {"error": type(exc).__name__, "text": str(exc)}
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
