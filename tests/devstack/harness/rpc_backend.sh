#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Models of devstack's functions for the message bus, which the plugin replaces.

function _rabbit_is_known {
    is_service_enabled rabbit || [[ -n "${RABBIT_HOST:-}" && -n "${RABBIT_PASSWORD:-}" ]]
}

function get_transport_url {
    if _rabbit_is_known; then
        echo "rabbit://stackrabbit:secret@$SERVICE_HOST:5672/${1:-}"
    fi
}

# As in devstack, this does not ask the function above.
function get_notification_url {
    if _rabbit_is_known; then
        echo "rabbit://stackrabbit:secret@$SERVICE_HOST:5672/${1:-}"
    fi
}

function rpc_backend_add_vhost {
    if is_service_enabled rabbit; then
        event "add_vhost $1"
    else
        return 1
    fi
}

function iniset_rpc_backend {
    if _rabbit_is_known; then
        iniset "$2" "${3:-DEFAULT}" transport_url "$(get_transport_url "${4:-}")"
    fi
}
