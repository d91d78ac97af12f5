#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Models of those functions of devstack's lib/nova that write configuration files, in what matters to
# the plugin.

NOVA_CONF=$NOVA_CONF_DIR/nova.conf
NOVA_CPU_CONF=$NOVA_CONF_DIR/nova-cpu.conf
NOVA_FAKE_CONF=$NOVA_CONF_DIR/nova-fake.conf

function conductor_conf {
    echo "$NOVA_CONF_DIR/nova_cell$1.conf"
}

function _database_url {
    echo "sqlite:///$DATA_DIR/$1.sqlite"
}

# configure_keystoneauth file section
function configure_keystoneauth {
    iniset "$1" "$2" auth_type password
    iniset "$1" "$2" auth_url "$KEYSTONE_SERVICE_URI"
}

function create_nova_conf {
    local section cell file
    rm -f "$NOVA_CONF"
    iniset "$NOVA_CONF" DEFAULT my_ip "$HOST_IP"
    if is_service_enabled n-api n-cond; then
        if [[ "$CELLSV2_SETUP" == "singleconductor" ]]; then
            iniset "$NOVA_CONF" database connection "$(_database_url nova_cell1)"
        else
            iniset "$NOVA_CONF" database connection "$(_database_url nova_cell0)"
        fi
        iniset "$NOVA_CONF" api_database connection "$(_database_url nova_api)"
        configure_keystoneauth "$NOVA_CONF" keystone_authtoken
    fi
    iniset "$NOVA_CONF" oslo_messaging_notifications driver messagingv2
    iniset "$NOVA_CONF" oslo_messaging_notifications transport_url "$(get_notification_url)"
    iniset_rpc_backend nova "$NOVA_CONF"
    iniset "$NOVA_CONF" DEFAULT graceful_shutdown_timeout "$SERVICE_GRACEFUL_SHUTDOWN_TIMEOUT"
    for section in placement service_user; do
        configure_keystoneauth "$NOVA_CONF" "$section"
    done
    if is_service_enabled cinder; then
        configure_keystoneauth "$NOVA_CONF" cinder
    fi
    if is_service_enabled n-cond; then
        for cell in $(seq 1 "$NOVA_NUM_CELLS"); do
            file=$(conductor_conf "$cell")
            rm -f "$file"
            iniset "$file" database connection "$(_database_url "nova_cell$cell")"
            if [[ "$CELLSV2_SETUP" == "singleconductor" ]]; then
                iniset_rpc_backend nova "$file" DEFAULT
            else
                rpc_backend_add_vhost "nova_cell$cell"
                iniset_rpc_backend nova "$file" DEFAULT "nova_cell$cell"
            fi
        done
    fi
}

# The URL of a cell is what the API reaches it by; nothing corrects it later.
function init_nova {
    local cell
    if is_service_enabled mysql && is_service_enabled n-api; then
        for cell in $(seq 1 "$NOVA_NUM_CELLS"); do
            event "create_cell $cell $(iniget "$(conductor_conf "$cell")" DEFAULT transport_url)"
        done
    fi
    if is_service_enabled neutron; then
        configure_keystoneauth "$NOVA_CONF" neutron
    fi
}

function configure_console_compute {
    iniset "$NOVA_CPU_CONF" vnc enabled false
}

function start_nova_compute {
    cp "$NOVA_CONF" "$NOVA_CPU_CONF"
    merge_local_conf post-config "$NOVA_CPU_CONF"
    if [[ "$CELLSV2_SETUP" == "superconductor" ]]; then
        iniset_rpc_backend nova "$NOVA_CPU_CONF" DEFAULT "nova_cell$NOVA_CPU_CELL"
    fi
    inidelete "$NOVA_CPU_CONF" database connection
    inidelete "$NOVA_CPU_CONF" api_database connection
    configure_console_compute
    if [[ "$VIRT_DRIVER" == "fake" ]]; then
        iniset "$NOVA_FAKE_CONF-1" DEFAULT host "${HOSTNAME}1"
    fi
    run_process n-cpu "$NOVA_BIN_DIR/nova-compute --config-file $NOVA_CPU_CONF"
}
