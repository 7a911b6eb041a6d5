# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash

# --- What all break-glass scripts have. The phases of the plan follow below.

USUAL_UMASK=$(umask)
umask 077
PATH="$PATH:$HOME/.local/bin:$HOME/.cargo/bin:/usr/local/bin:/opt/poetry/bin"
export PATH GIT_TERMINAL_PROMPT=0 GIT_NO_REPLACE_OBJECTS=1
unset VIRTUAL_ENV GIT_DIR GIT_WORK_TREE GIT_COMMON_DIR GIT_INDEX_FILE GIT_OBJECT_DIRECTORY \
  GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_NAMESPACE GIT_PREFIX GIT_EXTERNAL_DIFF

say() { printf '%s\n' "$@"; }

die() {
  printf '%s\n' "$1" >&2
  exit 1
}

not() { ! "$@"; }

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < until)) || return 1
    sleep 0.2
  done
}

port_open() { (exec 3<> "/dev/tcp/$1/$2") 2> /dev/null; }

# environment FILE: its KEY=value lines, as systemd's EnvironmentFile= has them
environment() {
  local line key value
  [[ -r $1 ]] || die "The environment file $1 cannot be read by $(id -un)."
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line%$'\r'}
    [[ ! $line =~ ^[[:space:]]*([#\;].*)?$ ]] || continue
    [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$ ]] ||
      die "$1 has a line that is neither KEY=value nor a comment."
    key=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
    value=${value%"${value##*[![:space:]]}"}
    if [[ $value =~ ^\'([^\']*)\'$ ]]; then
      value=${BASH_REMATCH[1]}
    elif [[ $value =~ ^\"(.*)\"$ ]]; then
      # shellcheck disable=SC2001
      value=$(sed 's/\\\(["\\`$]\)/\1/g' <<< "${BASH_REMATCH[1]}")
    elif [[ $value == [\'\"]* || $value == *\\ ]]; then
      die "$1: the value of $key goes over several lines, which this script cannot read. Write it on one line."
    else
      # shellcheck disable=SC2001
      value=$(sed 's/\\\(.\)/\1/g' <<< "$value")
    fi
    export "$key=$value"
  done < "$1"
}

# --- files

# put SOURCE TARGET [CHECK...]: a copy of SOURCE as TARGET, with TARGET's owner and mode. In CHECK, %s is the new file.
put() {
  local source=$1 target new word check=()
  target=$(readlink -f -- "$2")
  shift 2
  if [[ -f $target ]] && cmp -s -- "$source" "$target"; then
    say "  $target is as it should be already"
    return
  fi
  new=$target.rollback-$$
  cp -- "$source" "$new"
  if [[ -f $target ]]; then
    chmod --reference="$target" -- "$new"
    chown --reference="$target" -- "$new"
  else
    chmod --reference="$source" -- "$new"
  fi
  for word; do check+=("${word//%s/$new}"); done
  if (($#)) && ! "${check[@]}"; then
    rm -f -- "$new"
    die "$target was left as it is: what it would become is not valid, says $1."
  fi
  keep "$target"
  mv -f -- "$new" "$target"
  say "  $target is from $source"
}

# keep FILE: a copy of it below $HERE, once; `put_back` puts all of them back
keep() {
  local name
  name=$HERE/$(printf '%s' "$1" | sha256sum | cut -c -20)
  [[ ! -e $name.path ]] || return 0
  if [[ -e $1 || -L $1 ]]; then cp -a -- "$1" "$name.file"; fi
  printf '%s' "$1" > "$name.path"
}

put_back() {
  local path target
  for path in "$HERE"/*.path; do
    [[ -e $path ]] || continue
    target=$(< "$path")
    if [[ -e ${path%.path}.file || -L ${path%.path}.file ]]; then
      cp -a -- "${path%.path}.file" "$target.rollback-$$"
      mv -fT -- "$target.rollback-$$" "$target"
    else
      rm -f -- "$target"
    fi
    say "  $target is as it was found"
  done
}

# restore_from_git PATH...: these files and folders of $REPO as in the commit in $HERE/base; other files stay
restore_from_git() {
  local base mode type object name like
  base=$(< "$HERE/base")
  in_git ls-tree -r -z "$base" -- "$@" > "$HERE/wanted"
  while read -r -d '' mode type object; do
    name=$REPO/${object#*$'\t'} object=${object%%$'\t'*}
    if [[ $type == commit ]]; then
      say "  $name is a submodule and is left alone"
    elif [[ $mode == 120000 ]]; then
      like=$(in_git cat-file blob "$object")
      if [[ ! -L $name || $(readlink -- "$name") != "$like" ]]; then
        keep "$name"
        ln -sfnT -- "$like" "$name"
      fi
    else
      in_git cat-file --filters "$base:./${name#"$REPO"/}" > "$HERE/content"
      chmod "0${mode: -3}" "$HERE/content"
      (umask "$USUAL_UMASK" && mkdir -p -- "$(dirname -- "$name")")
      put "$HERE/content" "$name"
    fi
  done < "$HERE/wanted"
  while read -r -d '' name; do
    if [[ -e $REPO/$name ]] && ! in_git cat-file -e "$base:./$name" 2> /dev/null; then
      keep "$REPO/$name"
      rm -f -- "$REPO/$name"
      say "  $REPO/$name was added by the change and is removed"
    fi
  done < <(while read -r commit; do
    in_git diff-tree -r -z --no-renames --relative --diff-filter=A --name-only "$commit^1" "$commit" -- "$@"
  done < "$HERE/commits")
}

# --- git

in_git() (
  umask "$USUAL_UMASK"
  LC_ALL=C exec git "${GIT_SETTINGS[@]}" -C "$REPO" "$@"
)

# find_commits NAME...: the commits that hashes, tags and ranges name, newest first, into $HERE/commits
find_commits() {
  local name
  for name; do
    if [[ $name == *..* ]]; then
      in_git rev-list --topo-order "${name#*..}" "^${name%%..*}"
    else
      in_git rev-parse --verify "$name^{commit}" ||
        die "There is no commit $name in $REPO. Bring it here: git -C $REPO fetch"
    fi
  done > "$HERE/commits"
  if (($# > 1)); then
    in_git rev-list --topo-order HEAD > "$HERE/history"
    grep -Fxf "$HERE/commits" "$HERE/history" > "$HERE/ordered" || true
    mv -f -- "$HERE/ordered" "$HERE/commits"
  fi
  [[ -s $HERE/commits ]] || die "None of the commits $* is in the history of what is checked out in $REPO."
}

committed() { in_git log -1 --no-show-signature --format=%ct "$1"; }

is_merge() { (($(in_git rev-list --no-walk --parents "$1" | wc -w) > 2)); }

# make_revert AUTHOR MAIL UNIX-TIME MAINLINE SUBJECT: one commit that reverts $HERE/commits, the same as Ansible's
make_revert() {
  local head when tree made commit at=$HERE/tree options
  head=$(in_git rev-parse HEAD)
  while read -r commit; do
    in_git merge-base --is-ancestor "$commit" "$head" ||
      die "Commit $commit is not in the history of what is checked out in $REPO ($head)."
    if (($4)) && is_merge "$commit"; then in_git rev-list "$commit" "^$commit^$4" "^$commit" | tail -n +2; fi
  done < "$HERE/commits" > "$HERE/brought"
  grep -vFxf "$HERE/brought" "$HERE/commits" > "$HERE/reverted"
  when=${3:-$(committed "$(head -n 1 "$HERE/reverted")")}
  (($(committed "$head") <= when)) || when=$(committed "$head")
  if [[ -e $at ]]; then
    in_git worktree remove --force "$at" || rm -rf -- "$at"
    in_git worktree prune
  fi
  in_git worktree add --quiet --detach "$at" "$head"
  while read -r commit; do
    options=(--no-commit)
    if (($4)) && is_merge "$commit"; then options+=(--mainline "$4"); fi
    if ! REPO=$at in_git revert "${options[@]}" "$commit"; then
      REPO=$at in_git diff --name-only --diff-filter=U >&2 || true
      in_git worktree remove --force "$at"
      die "Reverting $commit in $REPO conflicts, or it is reverted already (see above). Correct the commits in the plan."
    fi
  done < "$HERE/reverted"
  tree=$(REPO=$at in_git write-tree)
  in_git worktree remove --force "$at"
  made=$head
  if [[ $tree != "$(in_git rev-parse "$head^{tree}")" ]]; then
    made=$({
      printf '%s\n\n' "$5"
      sed 's/.*/This reverts commit &./' "$HERE/reverted"
    } | GIT_AUTHOR_NAME=$1 GIT_AUTHOR_EMAIL=$2 GIT_AUTHOR_DATE="@$when +0000" GIT_COMMITTER_NAME=$1 \
      GIT_COMMITTER_EMAIL=$2 GIT_COMMITTER_DATE="@$when +0000" in_git commit-tree "$tree" -p "$head" -F -)
  fi
  say "$made" > "$HERE/target"
}

# Notes where the code stands, once. Returns 1 where an earlier attempt did.
note_code() {
  [[ ! -s $HERE/target ]] || return 1
  in_git rev-parse HEAD > "$HERE/found"
  in_git symbolic-ref --quiet --short HEAD > "$HERE/branch" || true
}

# Refuses local changes in files that the switch would replace.
refuse_changed() {
  local both
  in_git diff --name-only HEAD | sort > "$HERE/changed"
  in_git diff --name-only --no-renames "$(< "$HERE/found")" "$(< "$HERE/target")" | sort > "$HERE/files"
  both=$(comm -12 "$HERE/changed" "$HERE/files")
  [[ -z $both ]] || die "In $REPO these files differ from what is checked out, and the rollback would replace them:
$both
Put your changes away first: git -C $REPO stash"
}

# switch_code FROM TO HOW...: in_git HOW, where the code stands at FROM
switch_code() {
  local head from=$1 to=$2
  shift 2
  head=$(in_git rev-parse HEAD)
  if [[ $head == "$to" ]]; then
    say "  $REPO stands at $to already"
  elif [[ $head == "$from" ]]; then
    in_git "$@"
    [[ $(in_git rev-parse HEAD) == "$to" ]] || die "$REPO does not stand at $to."
  else
    die "$REPO stands at $head, neither at $from nor at $to: somebody else works here. By hand: git -C $REPO $*"
  fi
}
