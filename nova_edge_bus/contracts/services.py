# SPDX-License-Identifier: Apache-2.0
"""The published table: the calls, casts and fanouts of nova 34's services to each other."""

from nova_edge_bus.contracts.terms import Contract
from nova_edge_bus.contracts.terms import Kind
from nova_edge_bus.contracts.terms import Row

NAMESPACES = {
    "BaseAPI": "baseapi",
    "ComputeAPI": "",
    "ComputeTaskAPI": "compute_task",
    "ConductorAPI": "",
    "SchedulerAPI": "",
    "oslo_messaging": "",
}
"""The interfaces, by the classes of nova's RPC clients, and the namespaces that they send."""

_MOVE = "part of a move"
_CONSOLE = "makes a token"
_GUEST = "acts on the guest"
_LIVE = "part of a live migration"

_READS = (
    ("BaseAPI.get_backdoor_port", "", "a read"),
    ("BaseAPI.ping", "", "a read"),
    ("ComputeAPI.get_console_output", "instance", "a read of the guest"),
    ("ComputeAPI.get_diagnostics", "instance", "a read of the guest"),
    ("ComputeAPI.get_host_uptime", "", "a read of the host"),
    ("ComputeAPI.get_instance_diagnostics", "instance", "a read of the guest"),
    ("ComputeAPI.validate_console_port", "instance", "a read of the guest"),
    ("ConductorAPI.object_backport_versions", "", "changes nothing"),
    ("oslo_messaging.oslo_rpc_server_ping", "", "a read"),
)
"""Calls that may be repeated."""

_WAITS = (("SchedulerAPI.select_destinations", "", "waits for a scheduler"),)
"""Calls that wait for the other side as long as they would under RabbitMQ."""

_REFUSED = (
    ("ComputeAPI.attach_interface", "instance", _GUEST),
    ("ComputeAPI.cache_images", "", "acts on the host"),
    ("ComputeAPI.check_can_live_migrate_destination", "instance", _LIVE),
    ("ComputeAPI.check_can_live_migrate_source", "instance", _LIVE),
    ("ComputeAPI.check_instance_shared_storage", "instance", "asks the other host"),
    ("ComputeAPI.confirm_resize", "instance", _MOVE),
    ("ComputeAPI.confirm_snapshot_based_resize_at_source", "instance", _MOVE),
    ("ComputeAPI.drop_move_claim_at_destination", "instance", _MOVE),
    ("ComputeAPI.finish_revert_snapshot_based_resize_at_source", "instance", _MOVE),
    ("ComputeAPI.finish_snapshot_based_resize_at_dest", "instance", _MOVE),
    ("ComputeAPI.get_mks_console", "instance", _CONSOLE),
    ("ComputeAPI.get_serial_console", "instance", _CONSOLE),
    ("ComputeAPI.get_spice_console", "instance", _CONSOLE),
    ("ComputeAPI.get_vnc_console", "instance", _CONSOLE),
    ("ComputeAPI.host_maintenance_mode", "", "acts on the host"),
    ("ComputeAPI.host_power_action", "", "acts on the host"),
    ("ComputeAPI.post_live_migration_at_destination", "instance", _LIVE),
    ("ComputeAPI.pre_live_migration", "instance", _LIVE),
    ("ComputeAPI.prep_snapshot_based_resize_at_dest", "instance", _MOVE),
    ("ComputeAPI.prep_snapshot_based_resize_at_source", "instance", _MOVE),
    ("ComputeAPI.quiesce_instance", "instance", _GUEST),
    ("ComputeAPI.remove_volume_connection", "instance", "acts on the other host"),
    ("ComputeAPI.reserve_block_device_name", "instance", "returns a new mapping"),
    ("ComputeAPI.revert_snapshot_based_resize_at_dest", "instance", _MOVE),
    ("ComputeAPI.set_admin_password", "instance", _GUEST),
    ("ComputeAPI.set_host_enabled", "", "acts on the host"),
    ("ComputeAPI.stop_instance", "instance", _GUEST),
    ("ComputeTaskAPI.attach_volume", "instance", "returns a device name"),
    ("ComputeTaskAPI.confirm_snapshot_based_resize", "instance", _MOVE),
    ("ComputeTaskAPI.migrate_server", "instance", "starts a move"),
)

_CASTS = (
    (
        "ComputeAPI",
        _GUEST,
        "add_fixed_ip_to_instance allow_share attach_volume backup_instance deny_share "
        "detach_interface detach_volume inject_network_info pause_instance reboot_instance "
        "remove_fixed_ip_from_instance rescue_instance restore_instance resume_instance "
        "shelve_instance shelve_offload_instance snapshot_instance soft_delete_instance "
        "start_instance stop_instance suspend_instance swap_volume terminate_instance "
        "trigger_crash_dump unpause_instance unquiesce_instance unrescue_instance "
        "volume_snapshot_create volume_snapshot_delete",
    ),
    (
        "ComputeAPI",
        "brings a guest",
        "build_and_run_instance rebuild_instance unshelve_instance",
    ),
    (
        "ComputeAPI",
        _MOVE,
        "confirm_resize finish_resize finish_revert_resize prep_resize resize_instance "
        "revert_resize",
    ),
    (
        "ComputeAPI",
        _LIVE,
        "live_migration live_migration_abort live_migration_force_complete "
        "rollback_live_migration_at_destination",
    ),
    ("ComputeAPI", "news from outside", "external_instance_event"),
    (
        "ComputeTaskAPI",
        "the conductor takes over",
        "attach_volume build_instances confirm_snapshot_based_resize live_migrate_instance "
        "migrate_server rebuild_instance revert_snapshot_based_resize unshelve_instance",
    ),
)
_CASTS_OF_NO_INSTANCE = (
    ("ComputeTaskAPI.cache_images", "the conductor takes over"),
    ("ComputeTaskAPI.schedule_and_build_instances", "the conductor takes over"),
)
_FANOUTS = (
    ("SchedulerAPI.delete_aggregate", "a later one replaces it"),
    ("SchedulerAPI.delete_instance_info", "a later one replaces it"),
    ("SchedulerAPI.sync_instance_info", "a later one replaces it"),
    ("SchedulerAPI.update_aggregates", "a later one replaces it"),
    ("SchedulerAPI.update_instance_info", "a later one replaces it"),
)


def _rows() -> list[Row]:
    call, cast, fanout = Kind.CALL, Kind.CAST, Kind.FANOUT
    relay, refuse, command, drop = (
        Contract.RELAY,
        Contract.REFUSE,
        Contract.COMMAND,
        Contract.DROP,
    )
    rows = [Row(name, call, relay, group, why, repeatable=True) for name, group, why in _READS]
    rows += [Row(name, call, relay, group, why) for name, group, why in _WAITS]
    rows += [Row(name, call, refuse, group, why) for name, group, why in _REFUSED]
    rows += [
        Row(f"{interface}.{method}", cast, command, "instance", why)
        for interface, why, methods in _CASTS
        for method in methods.split()
    ]
    rows += [Row(name, cast, command, "", why) for name, why in _CASTS_OF_NO_INSTANCE]
    rows += [Row(name, fanout, drop, "", why) for name, why in _FANOUTS]
    return sorted(rows, key=lambda row: (row.name, row.kind.value))


ROWS: tuple[Row, ...] = tuple(_rows())
"""Sorted by name."""
