# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash

# --- databases

# postgresql URL COMMAND...: the command with libpq's variables, so that no password is in a process list
postgresql() (
  local url=$1 options
  shift
  if [[ $url == service=* ]]; then
    export PGSERVICE=${url#service=}
  elif [[ $url =~ ^postgres(ql)?(\+[a-z0-9_]+)?://(([^:@/]*)(:([^@/]*))?@)?([^:/?]*)(:([0-9]+))?/([^?]*)(\?(.*))?$ ]]; then
    options=${BASH_REMATCH[12]}
    decoded PGUSER "${BASH_REMATCH[4]}"
    decoded PGPASSWORD "${BASH_REMATCH[6]}"
    decoded PGHOST "${BASH_REMATCH[7]}"
    decoded PGPORT "${BASH_REMATCH[9]}"
    decoded PGDATABASE "${BASH_REMATCH[10]}"
    [[ ! $options =~ (^|&)host=([^&]*) ]] || decoded PGHOST "${BASH_REMATCH[2]}"
    [[ ! $options =~ (^|&)port=([0-9]+) ]] || decoded PGPORT "${BASH_REMATCH[2]}"
    [[ ! $options =~ (^|&)sslmode=([a-z-]+) ]] || decoded PGSSLMODE "${BASH_REMATCH[2]}"
  else
    die "The URL of the PostgreSQL database cannot be read by this script."
  fi
  exec "$@"
)

# decoded NAME VALUE: the variable, for what comes next; nothing where it is empty
decoded() {
  local text=${2//\\/\\\\}
  [[ -z $text ]] || printf -v text '%b' "${text//%/\\x}"
  [[ -z $text ]] || export "$1=$text"
}

# located DATABASE: a PostgreSQL URL, or the file of a SQLite database, whose URL it may be
located() {
  local place=${1%%\?*}
  case $1 in
    postgres*://* | service=*) say "$1" ;;
    sqlite*:////*) say "/${place#*:////}" ;;
    /*) say "$1" ;;
    *) die "A database is neither PostgreSQL nor a file of SQLite with its whole path, so this script cannot read it." ;;
  esac
}

is_postgresql() { [[ $1 == postgres*://* || $1 == service=* ]]; }

# query DATABASE SQL: rows as lines, values with | between them
query() {
  local database
  database=$(located "$1") || return 1
  if is_postgresql "$database"; then
    postgresql "$database" psql --no-psqlrc --quiet --tuples-only --no-align --no-password --command="$2"
  elif command -v sqlite3 > /dev/null; then
    sqlite3 -readonly "$database" "$2"
  else
    python3 -c '
import pathlib, sqlite3, sys
for row in sqlite3.connect(pathlib.Path(sys.argv[1]).as_uri() + "?mode=ro", uri=True).execute(sys.argv[2]):
    print("|".join("" if value is None else str(value) for value in row))' "$database" "$2"
  fi
}

# copy_sqlite FROM TO: also where the app has it open
copy_sqlite() {
  if command -v sqlite3 > /dev/null; then
    [[ $2 != "$HERE"/* ]] || (cd -- "$HERE" && exec sqlite3 -bail "$1" ".backup ${2##*/}")
    [[ $2 == "$HERE"/* ]] || (cd -- "$HERE" && exec sqlite3 -bail "$2" ".restore ${1##*/}")
  else
    python3 -c '
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as one, sqlite3.connect(sys.argv[2]) as two:
    one.backup(two)' "$1" "$2"
  fi
  [[ $(query "$2" 'PRAGMA integrity_check') == ok ]] || die "The copy $2 of $1 is damaged."
}

# keep_database NAME DATABASE: a copy of all of it as $HERE/NAME
keep_database() {
  local database
  database=$(located "$2")
  [[ ! -e $HERE/$1 ]] || return 0
  rm -f -- "$HERE/$1.part"
  if is_postgresql "$database"; then
    postgresql "$database" pg_dump --no-password --format=custom --file="$HERE/$1.part"
    pg_restore --list "$HERE/$1.part" > /dev/null
  else
    [[ -f $database ]] || die "There is no database $database."
    copy_sqlite "$database" "$HERE/$1.part"
  fi
  mv -- "$HERE/$1.part" "$HERE/$1"
  say "  The database is kept as $HERE/$1"
}

# put_database_back NAME DATABASE: the copy $HERE/NAME, and what is there now is kept too
put_database_back() {
  local database
  database=$(located "$2")
  keep_database "$1.before-it-was-put-back-$(date +%s)" "$2"
  if is_postgresql "$database"; then
    postgresql "$database" pg_restore --no-password --clean --if-exists --exit-on-error --single-transaction \
      --dbname=application_name=rollback "$HERE/$1"
  else
    copy_sqlite "$HERE/$1" "$database"
  fi
}

# find_databases FROM TO: those of $DATABASES that stand where the downgrade begins are the ones to keep
find_databases() {
  local number now
  refuse_elsewhere "$1" "$2"
  if [[ -e $HERE/began ]] || is_at "$(revision)" "$2"; then return; fi
  for number in "${!DATABASES[@]}"; do
    now=$(query "${DATABASES[number]}" "SELECT version_num FROM alembic_version" 2> /dev/null) || continue
    if is_at "$now" "$1"; then say "$number"; fi
  done > "$HERE/databases"
  [[ -s $HERE/databases ]] || die "None of the databases that the backup and the checks of the plan name stands at $1, so that
this script does not know what to keep a copy of. Name the app's database in backup_databases, and run report.yml again."
}

keep_databases() {
  local number
  for number in $(< "$HERE/databases"); do keep_database "database-$((number + 1))" "${DATABASES[number]}"; done
}

put_databases_back() {
  local number
  for number in $(< "$HERE/databases"); do put_database_back "database-$((number + 1))" "${DATABASES[number]}"; done
}

# The app's own Alembic, in $PROJECT with $PYTHON and $ALEMBIC_OPTIONS
alembic() (
  cd -- "$PROJECT" || exit
  umask "$USUAL_UMASK"
  if ((${#PYTHON[@]} == 0)); then
    if [[ -x .venv/bin/python ]]; then PYTHON=(.venv/bin/python); else PYTHON=(uv run --no-sync python); fi
  fi
  exec "${PYTHON[@]}" -m alembic "${ALEMBIC_OPTIONS[@]}" "$@"
)

revision() { alembic current | sed -n 's/^\([^[:space:]]\{1,\}\)\( (.*)\)*$/\1/p' | sort | paste -sd , -; }

# is_at NOW REVISION, of which the beginning is enough
is_at() { if [[ $2 == base ]]; then [[ -z $1 ]]; else [[ -n $1 && $1 == "$2"* ]]; fi; }

# refuse_elsewhere FROM TO: where the database stands has to be one of them
refuse_elsewhere() {
  local now
  now=$(revision)
  is_at "$now" "$1" || is_at "$now" "$2" ||
    die "The database stands at ${now:-no revision}, neither at $1 nor at $2. Was it migrated since? See: alembic history"
}

# downgrade FROM TO
downgrade() {
  refuse_elsewhere "$1" "$2"
  if is_at "$(revision)" "$2"; then
    say "  The database stands at $2 already"
    return
  fi
  if [[ ! -e $HERE/began ]]; then
    keep_databases
    : > "$HERE/began"
  fi
  alembic downgrade "$2"
  is_at "$(revision)" "$2" || die "The database stands at $(revision) after the downgrade, not at $2."
  say "  The database stands at $2"
}

# upgrade_again FROM: what keep_databases kept is put back
upgrade_again() {
  if [[ ! -e $HERE/began ]]; then
    say "  The downgrade had not begun, so the database is as it was"
    return
  fi
  put_databases_back
  is_at "$(revision)" "$1" || die "The database stands at $(revision), not at $1."
  say "  The database stands at $1, with the data from before the downgrade"
}

# --- scripts of the app's people; one with a relative path comes from the ops repository

script_at() { if [[ $1 == /* ]]; then say "$1"; else say "$(dirname -- "$SELF")/$1"; fi; }

has_script() {
  [[ -x $(script_at "$1") ]] ||
    die "There is no program $(script_at "$1"). Copy $1 there from where the plan has it, then: chmod +x $(script_at "$1")"
}

# run_script CREATES DIRECTORY SCRIPT ARGUMENT...: unless it came to its end already, or CREATES is there
run_script() {
  local creates=$1 directory=$2 script
  script=$(script_at "$3")
  shift 3
  if [[ -e $HERE/ran || (-n $creates && -e $creates && ! -e $HERE/reached) ]]; then
    say "  $script has nothing to do"
    return
  fi
  mkdir -p "$HERE/kept"
  : > "$HERE/reached"
  (umask "$USUAL_UMASK" && cd -- "$directory" && ROLLBACK_KEEP=$HERE/kept "$script" "$@")
  : > "$HERE/ran"
}

# run_back DIRECTORY SCRIPT ARGUMENT...: where the other script had begun
run_back() {
  local directory=$1 script reached=unfinished
  script=$(script_at "$2")
  shift 2
  [[ -e $HERE/reached ]] || return 0
  [[ ! -e $HERE/ran ]] || reached=finished
  (umask "$USUAL_UMASK" && cd -- "$directory" && ROLLBACK_KEEP=$HERE/kept ROLLBACK_SCRIPT=$reached "$script" "$@")
}

# --- services, each as runs_N, start_N, stop_N and known_N, in the order in which they are stopped

know_services() {
  local one
  for one; do "known_$one" || die "There is no service ${SERVICES[one]} here."; done
}

# stop_services FILE N...: those that run; FILE notes which ones ran when this was first asked
stop_services() {
  local file=$1 one
  shift
  if [[ ! -e $file ]]; then
    for one; do if "runs_$one"; then say "$one"; fi; done > "$file.new"
    chmod 0644 "$file.new"
    mv -- "$file.new" "$file"
  fi
  for one; do
    if "runs_$one"; then "stop_$one"; fi
    wait_for 60 not "runs_$one" || die "${SERVICES[one]} still runs. Stop it, then run this script again."
    say "  ${SERVICES[one]} is stopped"
  done
}

# start_services FILE N...: those that FILE notes, in reverse order; all where it notes none
start_services() {
  local file=$1 one order=()
  shift
  if [[ ! -s $file ]]; then say "  Nothing ran before, so all are started"; fi
  for one; do order=("$one" ${order[@]+"${order[@]}"}); done
  for one in ${order[@]+"${order[@]}"}; do
    if [[ -s $file ]] && ! grep -Fxq "$one" "$file"; then continue; fi
    if ! "runs_$one"; then "start_$one"; fi
    wait_for 60 "runs_$one" || die "${SERVICES[one]} does not run."
    "up_$one"
    say "  ${SERVICES[one]} runs"
  done
}

refuse_running() {
  local one
  for one; do
    if "runs_$one"; then die "${SERVICES[one]} runs again, so the database is not touched. Run this script again."; fi
  done
}
