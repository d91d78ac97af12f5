# SPDX-License-Identifier: Apache-2.0
"""A worker that has of nova-conductor what the bus needs: ``python -m bench.cell_conductor ...``.

    python -m bench.cell_conductor --config-file FILE

It answers a save with one transaction of SQLAlchemy in the cell's database, in which the driver
writes its inbox row as it does in nova's, and a read with one query. There are none of nova's
objects, which take most of a conductor's time; so this says what the bus and the database can do.
"""

import sys
import typing

import sqlalchemy
from sqlalchemy import orm

from bench import serving

_THREADS = 64
_SAVE = sqlalchemy.text("UPDATE instances SET progress = :progress WHERE uuid = :uuid")
_READ = sqlalchemy.text("SELECT uuid, host, progress, vm_state FROM instances WHERE uuid = :uuid")


class Conductor:
    """The two methods of nova-conductor that the calls go to."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        import oslo_messaging

        self.target = oslo_messaging.Target(version="3.0")
        self._engine = engine

    def object_action(
        self,
        ctxt: dict[str, typing.Any],
        objinst: dict[str, typing.Any],
        objmethod: str,
        args: list[typing.Any],
        kwargs: dict[str, typing.Any],
    ) -> list[typing.Any]:
        """Write the progress of an instance."""
        fields = objinst["nova_object.data"]
        with orm.Session(self._engine) as session, session.begin():
            session.execute(_SAVE, {"progress": fields["progress"], "uuid": fields["uuid"]})
        return [{"obj_what_changed": []}, None]

    def object_class_action_versions(
        self,
        ctxt: dict[str, typing.Any],
        objname: str,
        objmethod: str,
        object_versions: dict[str, str],
        args: list[typing.Any],
        kwargs: dict[str, typing.Any],
    ) -> dict[str, typing.Any]:
        """Read an instance."""
        with self._engine.connect() as connection:
            row = connection.execute(_READ, {"uuid": args[0]}).one()
        return dict(row._mapping)


class Worker:
    """One worker process."""

    def __init__(self) -> None:
        from nova import config
        from oslo_log import log

        config.parse_args(sys.argv)
        log.setup(config.CONF, "nova")
        self._conf = config.CONF

    def begin(self) -> dict[str, typing.Any]:
        """Serve the conductor's topic; an endpoint knows of it on return."""
        import oslo_messaging
        from nova import rpc

        database = self._conf.database
        engine = sqlalchemy.create_engine(
            database.connection, pool_size=5, max_overflow=15, isolation_level="REPEATABLE READ"
        )
        self._server = oslo_messaging.get_rpc_server(
            rpc.TRANSPORT,
            oslo_messaging.Target(topic="conductor", server=self._conf.host),
            [Conductor(engine)],
            executor="threading",
            access_policy=oslo_messaging.DefaultRPCAccessPolicy,
        )
        self._server.start()
        return {}


def _open() -> Worker:
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
    return Worker()


if __name__ == "__main__":
    serving.serve(_open, frozenset({"begin"}))
