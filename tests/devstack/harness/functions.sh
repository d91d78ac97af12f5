#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Models of the functions that devstack offers to its plugins. What leaves the machine is written to
# the file $EVENTS instead.

function event {
    echo "$*" >> "$EVENTS"
}

function die {
    shift
    echo "die: $*" >&2
    exit 1
}

function define_plugin {
    :
}

function sudo {
    "$@"
}

# A value from local.conf, in one of two spellings.
function trueorfalse {
    case "${!2:-}" in
        1|yes|Yes|YES|true|True|TRUE) echo True ;;
        0|no|No|NO|false|False|FALSE) echo False ;;
        *) echo "$1" ;;
    esac
}

# Options in files
# ----------------

function iniget {
    awk -v section="[$2]" -v option="$3" '
        /^\[/ { inside = $0 == section; next }
        inside && $1 == option && $2 == "=" { sub(/^[^=]*= */, ""); print }
    ' "$1"
}

function ini_has_option {
    awk -v section="[$2]" -v option="$3" '
        /^\[/ { inside = $0 == section; next }
        inside && $1 == option && $2 == "=" { found = 1 }
        END { exit !found }
    ' "$1"
}

function iniget_sections {
    sed -n 's/^\[\(.*\)\]$/\1/p' "$1" | paste -sd ' '
}

function inidelete {
    awk -v section="[$2]" -v option="$3" '
        /^\[/ { inside = $0 == section }
        inside && $1 == option && $2 == "=" { next }
        { print }
    ' "$1" > "$1.new"
    mv "$1.new" "$1"
}

# As in devstack, an option without a value is set, too: to nothing.
function iniset {
    local file=$1
    touch "$file"
    inidelete "$file" "$2" "$3"
    if ! grep -qxF "[$2]" "$file"; then
        printf '\n[%s]\n' "$2" >> "$file"
    fi
    LINE="$3 = ${4:-}" awk -v section="[$2]" '
        { print }
        $0 == section { print ENVIRON["LINE"] }
    ' "$file" > "$file.new"
    mv "$file.new" "$file"
}

# What local.conf says for a file in a phase, from $LOCAL_CONF/PHASE/FILE: lines of section, option, value.
function merge_local_conf {
    local section option value
    local said
    said="$LOCAL_CONF/$1/$(basename "$2")"
    if [[ -f "$said" ]]; then
        while read -r section option value; do
            iniset "$2" "$section" "$option" "$value"
        done < "$said"
    fi
}

# Services
# --------

function is_service_enabled {
    local service
    for service in "$@"; do
        case "$service" in
            nova) [[ ",$ENABLED_SERVICES" == *,n-* ]] && return 0 ;;
            neutron) [[ ",$ENABLED_SERVICES" == *,q-* ]] && return 0 ;;
            cinder) [[ ",$ENABLED_SERVICES" == *,c-* ]] && return 0 ;;
            *) [[ ",$ENABLED_SERVICES," == *",$service,"* ]] && return 0 ;;
        esac
    done
    return 1
}

function enable_service {
    if [[ ",$DISABLED_SERVICES," != *",$1,"* ]] && ! is_service_enabled "$1"; then
        ENABLED_SERVICES+=",$1"
    fi
}

function run_process {
    if is_service_enabled "$1"; then
        case "$2" in
            *sudo*|*uwsgi*) die $LINENO "a command with a word that devstack understands otherwise: $2" ;;
            /*) event "run_process $1 $2" ;;
            *) die $LINENO "no absolute path: $2" ;;
        esac
    fi
}

function stop_process {
    if is_service_enabled "$1"; then
        event "stop_process $1"
    fi
}

function setup_develop {
    local folder=${!#}
    event "setup_develop $(awk '/^name.*=/ { print $3 }' "$folder/setup.cfg")" \
        "into ${PIP_VIRTUAL_ENV:-the environment of all}"
}
