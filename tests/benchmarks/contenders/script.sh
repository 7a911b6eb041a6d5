#!/usr/bin/env bash
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# A rollback by shell over ssh, all hosts at once, each step in the order that works: script.sh shared|own ADDRESS...
# SSH has the options of ssh, SETTINGS what steps.sh needs. Where hosts share a database it has a barrier on either side
# of the downgrade; where each has its own, one connection does all.

set -eu
here=$(dirname "$0")
database=$1
shift

on() { # on ADDRESS STEP...
  # shellcheck disable=SC2029,SC2086
  ssh $SSH "deploy@$1" "sudo env $SETTINGS bash -s ${*:2}" <"$here/steps.sh"
}

on_all() { # on_all STEP... : on each of ADDRESSES
  local address pids=()
  for address in "${addresses[@]}"; do
    on "$address" "$@" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid"
  done
}

addresses=("$@")
if [[ $database == shared ]]; then
  on_all stop
  on "${addresses[0]}" downgrade
  on_all finish
else
  on_all stop downgrade finish
fi
