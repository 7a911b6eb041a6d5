# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash

# --- checks

FAULTS=0
SAID=""
# check NAME yes|no RETRIES DELAY COMMAND...: yes for one that is required
check() {
  local name=$1 required=$2 left=$3 delay=$4
  shift 4
  until SAID=$("$@" 2>&1); do
    if ((left == 0)); then
      say "  DOES NOT HOLD   $name: ${SAID:-it failed}"
      if [[ $required == yes ]]; then FAULTS=$((FAULTS + 1)); else say "                  (wanted, not required)"; fi
      return 0
    fi
    left=$((left - 1))
    sleep "$delay"
  done
  say "  holds           $name${SAID:+: ${SAID:0:100}}"
}

# answers STATUSES TEXT JSON CURL-ARGUMENTS...
answers() {
  local statuses=$1 text=$2 json=$3 body code
  shift 3
  body=$HERE/answer
  code=$(curl --silent --show-error --output "$body" --write-out '%{http_code}' "$@") || return 1
  if [[ " $statuses " != *" $code "* ]]; then
    say "HTTP $code: $(head -c 300 -- "$body")"
    return 1
  fi
  if [[ -n $text ]] && ! grep -Fq -- "$text" "$body"; then
    say "HTTP $code, without '$text'"
    return 1
  fi
  if [[ -n $json ]] && ! has_json "$json" < "$body"; then return 1; fi
  say "HTTP $code"
}

# with_headers N HEADER... COMMAND...: the command with the N headers on its standard input
with_headers() {
  local count=$1
  shift
  "${@:count+1}" <<< "$(printf '%s\n' "${@:1:count}")"
}

# has_json WANTED: the document on standard input has these values, by path
has_json() {
  python3 -c '
import json, sys
def at(value, path):
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value
def kind(value):
    return isinstance(value, bool)
document, faults = json.load(sys.stdin), []
for path, wanted in json.loads(sys.argv[1]).items():
    try:
        found = at(document, path)
    except (KeyError, IndexError, ValueError, TypeError):
        found = None
    if found != wanted or kind(found) != kind(wanted):
        faults.append(f"{path} is {found!r}, not {wanted!r}")
sys.exit("; ".join(faults) or 0)' "$1"
}

# ends CODE TEXT SECONDS COMMAND...
ends() {
  local wanted=$1 text=$2 seconds=$3 out code=0
  shift 3
  out=$(umask "$USUAL_UMASK" && timeout "$seconds" "$@" 2>&1) || code=$?
  if ((code != wanted)) || [[ -n $text && $out != *"$text"* ]]; then
    say "exit code $code: ${out: -300}"
    return 1
  fi
}

# gives DATABASE SQL VALUE
gives() {
  local found
  found=$(query "$1" "$2" | head -n 1) || return 1
  [[ $found == "$3" ]] || { say "$found, not $3" && return 1; }
}

# stands DATABASE TABLE REVISION...
stands() {
  local database=$1 found one count=0
  found=$(query "$database" "SELECT version_num FROM $2 ORDER BY version_num") || return 1
  shift 2
  [[ $* != base ]] || set --
  for one; do
    if ! grep -q "^$one" <<< "$found"; then say "${found:-no revision}, not $*" && return 1; fi
    count=$((count + 1))
  done
  (($(grep -c . <<< "$found" || true) == count)) || { say "${found:-no revision}, not $*" && return 1; }
  say "${found:-no revision}"
}

# count_rows DATABASE EXCEPT TABLE...: lines "table number"; of all tables where none is named
count_rows() {
  local database=$1 except=" $2 " table found
  shift 2
  if (($# == 0)); then
    if is_postgresql "$(located "$database")"; then
      found=$(query "$database" "SELECT table_name FROM information_schema.tables
        WHERE table_schema = ANY (current_schemas(false)) AND table_type = 'BASE TABLE' ORDER BY 1") || return 1
    else
      found=$(query "$database" "SELECT name FROM sqlite_master
        WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY 1") || return 1
    fi
    while IFS= read -r table; do [[ -z $table ]] || set -- "$@" "$table"; done <<< "$found"
  fi
  for table; do
    [[ $except != *" $table "* && $table != alembic_version ]] || continue
    found=${table//\"/\"\"}
    is_postgresql "$(located "$database")" && found=${found//./\".\"}
    found=$(query "$database" "SELECT count(*) FROM \"$found\"") || return 1
    say "$table $found"
  done
}

# has_rows FILE yes|no DATABASE EXCEPT TABLE...: no fewer than FILE noted; yes: exactly as many
has_rows() {
  local file=$1 exactly=$2 table before now
  shift 2
  now=$(count_rows "$@") || return 1
  while read -r table before; do
    before="$table $before"
    found=$(awk -v table="$table" '$1 == table { print $2 }' <<< "$now")
    if [[ -z $found ]] || ((found < ${before##* })) || [[ $exactly == yes && $found != "${before##* }" ]]; then
      say "$table has ${found:-no} rows, and had ${before##* }" && return 1
    fi
  done < "$file"
}

# --- the run

# ask QUESTION: goes on only where somebody types yes, or --yes was given
ask() {
  local answer
  say "$1"
  [[ $YES != yes ]] || return 0
  read -r -p "Type yes to go on: " answer
  [[ $answer == yes ]] || die "Stopped, because the answer was not yes."
}

# by_hand N TEXT: what this script cannot do; somebody has to say that it is done
by_hand() {
  [[ ! -e $KEPT/$1.done ]] || return 0
  say "$2"
  if [[ " $DONE " != *" $1 "* ]]; then
    local answer
    [[ -t 0 ]] || die "Do that, then go on with: bash $SELF$([[ $VERB != undo ]] || say ' --back') --done $1$([[ $YES != yes ]] || say ' --yes')"
    read -r -p "Type done when that is done: " answer
    [[ $answer == "done" ]] || die "Stopped, because the answer was not done."
  fi
  : > "$KEPT/$1.done"
}

# call VERB N: look_N, phase_N or undo_N as the account of the phase
call() {
  declare -F "$1_$2" > /dev/null || return 0
  HERE=$KEPT/$2
  if [[ -z ${ACCOUNTS[$2]} || ${ACCOUNTS[$2]} == "$(id -un)" ]]; then
    ("$1_$2") 9>&-
  else
    runuser -u "${ACCOUNTS[$2]}" -- env HOME="$(getent passwd "${ACCOUNTS[$2]}" | cut -d : -f 6)" \
      bash -c "$(cat -- "$SELF")" "$SELF" --call "$1" "$2" "$KEPT" 9>&-
  fi
}

heading() { say "" "=== Phase $1 of ${#NAMES[@]}: ${TITLES[$1]}"; }

AT=""
VERB=""
ended() {
  local status=$? number
  ((status)) || return 0
  if [[ ! -s $KEPT/started ]]; then
    say "" "$CHANGE: nothing was touched." >&2
    return
  fi
  {
    say "" "$CHANGE: stopped ${AT:+in phase $AT, ${NAMES[${AT:-1}]}, }with exit code $status. See above why."
    say "Take the cause away and run this script again; it goes on from there:"
    say "    bash $SELF$([[ $VERB != undo ]] || say ' --back')"
    if [[ $VERB != undo ]]; then
      say "Or get back to where it began, with the data that the database had. This does all of it:"
      say "    bash $SELF --back"
    fi
    say "By hand that is, in this order:"
    while read -r number; do
      say "    $number ${NAMES[$number]}: ${BACK[$number]//@HERE@/$KEPT/$number}"
    done < <(tac -- "$KEPT/started")
    say "What was kept is in $KEPT."
  } >&2
}

prepare() {
  local number account
  for number in "${!ACCOUNTS[@]}"; do
    account=${ACCOUNTS[$number]}
    [[ -z $account || $account == "$(id -un)" || $(id -u) == 0 ]] ||
      die "Phase $number, ${NAMES[$number]}, works as $account. Run this script as root: sudo bash $SELF"
  done
  mkdir -p -- "$(dirname -- "${KEPT%/*/*}")"
  for account in "${KEPT%/*/*}" "${KEPT%/*}" "$KEPT"; do
    [[ -d $account ]] || mkdir -m 0711 -- "$account"  # accounts of phases have to get through
  done
  exec 9> "$KEPT/lock"
  flock -n 9 || die "This script is at work already: another one holds $KEPT/lock."
  for number in "${!NAMES[@]}"; do
    [[ -d $KEPT/$number ]] || mkdir -m "${MODES[$number]}" -- "$KEPT/$number"
    [[ -z ${ACCOUNTS[$number]} || $(id -u) != 0 ]] || chown -- "${ACCOUNTS[$number]}" "$KEPT/$number"
  done
  trap ended EXIT
}

back() {
  local numbers number
  [[ -s $KEPT/started ]] || die "There is nothing to put back: no phase has begun. See $KEPT."
  mapfile -t numbers < <(tac -- "$KEPT/started")
  say "$CHANGE is put back on $HOST_NAME: phases ${numbers[*]}."
  for number in "${numbers[@]}"; do
    [[ ! -e $KEPT/$number/began ]] || ask "The database becomes what it was right before the downgrade ($(date -r "$KEPT/$number/began")).
What was written since is kept in $KEPT/$number, but the app has it no more."
  done
  VERB=undo
  for number in "${numbers[@]}"; do
    AT=$number
    say "" "=== Putting back phase $number, ${NAMES[$number]}: ${BACK[$number]//@HERE@/$KEPT/$number}"
    if [[ -e $KEPT/$number.done ]]; then rm -- "$KEPT/$number.done"; fi
    if [[ -n ${BY_HAND[$number]} ]]; then by_hand "$number" "  That is for you to do."; fi
    call undo "$number"
  done
  AT=""
  mv -- "$KEPT" "$KEPT.put-back-$(date +%Y%m%dT%H%M%S)"
  say "" "$CHANGE is in place again, as it was found."
}

roll_back() {
  local number
  if [[ -e $KEPT/finished ]]; then
    say "$CHANGE was rolled back by this script on $(< "$KEPT/finished"). It is only verified now."
    say "If the change was shipped again since: mv $KEPT $KEPT.earlier"
    for number in "${VERIFY[@]}"; do
      heading "$number"
      call phase "$number"
    done
    return
  fi
  say "$CHANGE: $TITLE. It is rolled back on $HOST_NAME; nothing is touched before all phases have had a look."
  for number in "${!NAMES[@]}"; do call look "$number"; done
  for number in "${!NAMES[@]}"; do
    heading "$number"
    AT=$number
    if [[ $number == "$NO_RETURN" ]]; then ask "$QUESTION"; fi
    grep -Fxqs "$number" "$KEPT/started" || say "$number" >> "$KEPT/started"
    if [[ -n ${BY_HAND[$number]} ]]; then by_hand "$number" "${BY_HAND[$number]}"; fi
    call phase "$number"
  done
  AT=""
  date > "$KEPT/finished"
  say "" "$CHANGE is rolled back on $HOST_NAME."
  say "Ansible does not know of it yet. When it works again, ansible-playbook rollback.yml -e change=$CHANGE"
  say "finds all of it done, verifies, and takes it into the history. Until then nothing keeps a deploy from"
  say "shipping the change again."
}

usage() {
  say "bash $SELF              roll $CHANGE back on $HOST_NAME; it asks before the point of no return"
  say "bash $SELF --yes        without that question"
  say "bash $SELF --done N     phase N, which only a person can do, is done; go on"
  say "bash $SELF --dry-run    print what each phase would run"
  say "bash $SELF --back       put back all that was done so far"
}

main() {
  local action=roll_back number verb
  YES="" DONE=""
  SELF=$(readlink -f -- "${BASH_SOURCE[0]:-$0}")
  cd /
  while (($#)); do
    case $1 in
      --yes) YES=yes ;;
      --done) DONE="$DONE ${2:?--done wants the number of a phase}" && shift ;;
      --back) action=back ;;
      --dry-run) action=print ;;
      --call)
        KEPT=$4 HERE=$4/$3
        "$2_$3"
        return
        ;;
      *)
        usage
        [[ $1 == --help || $1 == -h ]] || die "There is no option $1."
        return
        ;;
    esac
    shift
  done
  if [[ $action == print ]]; then
    for number in "${!NAMES[@]}"; do
      heading "$number"
      if [[ -n ${BY_HAND[$number]} ]]; then say "${BY_HAND[$number]}"; fi
      for verb in look phase undo; do declare -f "${verb}_$number" || true; done
    done
    return
  fi
  [[ -t 0 || $YES == yes ]] || die "This script asks before the point of no return. Run it at a terminal, or with --yes."
  prepare
  "$action"
}
