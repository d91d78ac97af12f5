# SPDX-License-Identifier: Apache-2.0
"""The hosts of a fleet in a cell's database, and what each would send to save its instances.

    python -m bench.fleet_rows --config-file FILE DIRECTORY HOSTS INSTANCES

``HOSTS`` is how many, or the name of one.
The configuration is nova-conductor's. For each host a file in the directory holds a list of calls,
one an instance: the context and the message of an ``Instance.save`` that sets ``progress``.
"""

import json
import pathlib
import sys
import typing

from tests.nova import cell_rows

NAME = "edge-{:03}"
"""The hosts by their numbers."""


def main() -> None:
    """Make the rows and write the files."""
    directory, hosts, count = pathlib.Path(sys.argv[-3]), sys.argv[-2], int(sys.argv[-1])
    del sys.argv[-3:]
    names = [NAME.format(number) for number in range(int(hosts))] if hosts.isdigit() else [hosts]

    from nova import monkey_patch

    monkey_patch.patch(backend="threading")

    from nova import config
    from nova import objects

    config.parse_args(sys.argv)
    objects.register_all()
    for host in names:
        calls = [_call(instance) for instance in cell_rows.fill(host, count)]
        (directory / f"{host}.json").write_text(json.dumps(calls))


def _call(instance: typing.Any) -> list[dict[str, typing.Any]]:
    from nova import context
    from nova.objects import instance as instance_objects

    admin = context.get_admin_context()
    known = instance_objects.Instance.get_by_uuid(
        admin, instance.uuid, expected_attrs=["flavor", "info_cache", "metadata"]
    )
    known.progress = 1
    arguments = {
        "objinst": known.obj_to_primitive(),
        "objmethod": "save",
        "args": [],
        "kwargs": {},
    }
    return [admin.to_dict(), {"method": "object_action", "version": "3.0", "args": arguments}]


if __name__ == "__main__":
    main()
