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

# Read the file $1 into INI. SECTION becomes the number of the line with the section $2, and OPTION that of
# the option $3 in it; -1 stands for what is not there.
function _look_up {
    local number
    local inside=
    INI=()
    SECTION=-1
    OPTION=-1
    if [[ -f "$1" ]]; then
        mapfile -t INI < "$1"
    fi
    for number in "${!INI[@]}"; do
        case "${INI[number]}" in
            "[$2]")
                inside=yes
                SECTION=$number
                ;;
            "["*) inside= ;;
            "$3 = "*)
                if [[ -n "$inside" ]]; then
                    OPTION=$number
                fi
                ;;
        esac
    done
}

function iniget {
    _look_up "$1" "$2" "$3"
    if [[ "$OPTION" -ge 0 ]]; then
        echo "${INI[OPTION]#*= }"
    fi
}

function ini_has_option {
    _look_up "$1" "$2" "$3"
    [[ "$OPTION" -ge 0 ]]
}

function iniget_sections {
    local line
    while read -r line; do
        if [[ "$line" == "["*"]" ]]; then
            line=${line#[}
            echo "${line%]}"
        fi
    done < "$1"
}

function inidelete {
    _look_up "$1" "$2" "$3"
    if [[ "$OPTION" -ge 0 ]]; then
        unset "INI[OPTION]"
        printf '%s\n' "${INI[@]}" > "$1"
    fi
}

# As in devstack, an option without a value is set, too: to nothing.
function iniset {
    local line="$3 = ${4:-}"
    _look_up "$1" "$2" "$3"
    if [[ "$OPTION" -ge 0 ]]; then
        INI[OPTION]=$line
    elif [[ "$SECTION" -ge 0 ]]; then
        INI[SECTION]+=$'\n'$line
    else
        INI+=("" "[$2]" "$line")
    fi
    printf '%s\n' "${INI[@]}" > "$1"
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
