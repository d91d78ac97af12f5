#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# devstack sources this once for each phase, all in one shell; what a phase does is in lib.

source "$(dirname "${BASH_SOURCE[0]}")/lib/edge-bus"
source "$(dirname "${BASH_SOURCE[0]}")/lib/edge-bus-keys"
source "$(dirname "${BASH_SOURCE[0]}")/lib/edge-bus-rest-guard"

case "$1 ${2:-}" in
    "stack pre-install")
        # nova.conf is written before the phase install.
        edge_bus_replace iniset_rpc_backend rpc_backend_add_vhost get_transport_url get_notification_url
        if is_service_enabled nova; then
            edge_bus_check_keys
        fi
        ;;
    "stack install")
        if is_service_enabled nova; then
            edge_bus_install
        fi
        ;;
    "stack post-config")
        if is_service_enabled nova; then
            edge_bus_make_journal_dir
            edge_bus_make_keys
            edge_bus_sync_databases
            edge_bus_start_endpoint
            edge_bus_start_rest_guard
            edge_bus_replace configure_console_compute
        fi
        ;;
    "stack extra")
        # nova-cpu.conf is rebuilt after post-config, with the functions replaced.
        edge_bus_restore
        edge_bus_verify
        ;;
    "unstack ")
        edge_bus_restore
        edge_bus_stop
        ;;
    "clean ")
        edge_bus_remove_data
        ;;
esac
