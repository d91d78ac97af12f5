#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A machine with devstack: machine.sh STEP... runs each step, in one shell.
#
#     stack     what stack.sh does between its first and last phase of plugins
#     wrapped   the same, where another plugin wraps iniset_rpc_backend for good, after ours
#     begin     stack.sh as far as the first phase of plugins
#     resource  what a further stack.sh would do first: define devstack's functions anew
#     unstack, clean
#
# The environment says what local.conf and stackrc would. The functions that the plugin may replace
# are written to $EVENTS.functions-N after step N, those of the beginning with N = 0.

set -o errexit -o errtrace -o nounset -o pipefail
trap 'echo "machine.sh: $BASH_COMMAND failed at ${BASH_SOURCE[0]}:$LINENO" >&2; exit 1' ERR

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PLUGIN=$HERE/../../../devstack

source "$HERE/functions.sh"
source "$HERE/rpc_backend.sh"
source "$HERE/nova.sh"

# shellcheck disable=SC2034  # the plugin reads it
declare -A PROJECT_VENV=([nova]=${NOVA_VENV:-})

# A devstack of another time may lack a function.
if [[ -n "${LACKING:-}" ]]; then
    unset -f "$LACKING"
fi

function run_phase {
    event "phase $*"
    source "$PLUGIN/plugin.sh" "$@"
}

function step_resource {
    source "$HERE/rpc_backend.sh"
    source "$HERE/nova.sh"
}

# As a plugin would that knows nothing of this one.
function wrap_iniset_rpc_backend {
    local definition
    if ! declare -f another_original >/dev/null; then
        definition=$(declare -f iniset_rpc_backend)
        eval "another_original${definition#iniset_rpc_backend}"
        # shellcheck disable=SC2329  # called by the models
        function iniset_rpc_backend {
            event "another $1 $(basename "$2")"
            another_original "$@"
        }
    fi
}

function step_wrapped {
    AFTER_PRE_INSTALL=wrap_iniset_rpc_backend step_stack
}

function step_begin {
    mkdir -p "$DATA_DIR" "$NOVA_CONF_DIR"
    source "$PLUGIN/settings"
    run_phase stack pre-install
}

function step_stack {
    step_begin
    ${AFTER_PRE_INSTALL:-}
    iniset_rpc_backend neutron "$NOVA_CONF_DIR/neutron.conf" DEFAULT
    event "answer $(get_transport_url other)"
    event "answer $(get_notification_url)"
    if is_service_enabled nova; then
        create_nova_conf
    fi
    run_phase stack install
    if is_service_enabled nova; then
        init_nova
    fi
    run_phase stack post-config
    if is_service_enabled nova; then
        merge_local_conf post-config "$NOVA_CONF"
        # Whatever stands in it now is lost.
        echo "[a section of the phase post-config]" >> "$NOVA_CPU_CONF"
        start_nova_compute
    fi
    iniset_rpc_backend cinder "$NOVA_CONF_DIR/cinder.conf" DEFAULT
    run_phase stack extra
    run_phase stack test-config
}

function step_unstack {
    source "$PLUGIN/settings"
    run_phase unstack
    event "stop_nova"
    rm -rf "$DATA_DIR/nova"
}

function step_clean {
    step_unstack
    run_phase clean
}

function write_functions {
    local name
    for name in iniset_rpc_backend rpc_backend_add_vhost get_transport_url get_notification_url \
            configure_console_compute; do
        declare -f "$name" || true
    done > "$EVENTS.functions-$1"
    declare -F | awk '{ print $3 }' | grep '^edge_bus_original_' >> "$EVENTS.functions-$1" || true
}

NUMBER=0
write_functions $NUMBER
for step in "$@"; do
    "step_$step"
    NUMBER=$((NUMBER + 1))
    write_functions $NUMBER
done
