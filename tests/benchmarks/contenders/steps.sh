#!/usr/bin/env bash
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# What the script does on a host, as root: steps.sh stop|downgrade|finish... It checks nothing, as such scripts do.
# REPO, ENV_FILE, KEPT_ENV_FILE, FROM_COMMIT, TO_REVISION and PORT say of what.

set -eu
cd "$REPO"

as_shop() {
  runuser -u shop -- env HOME=/srv/shop SHOP_ENV_FILE="$ENV_FILE" "$@"
}

for step in "$@"; do
  case $step in
    stop)
      systemctl stop shop-web
      ;;
    downgrade)
      as_shop .venv/bin/python -m alembic --quiet downgrade "$TO_REVISION"
      ;;
    finish)
      as_shop git -c user.name=ops -c user.email=ops@shop.example revert --no-edit "$FROM_COMMIT" >/dev/null
      as_shop /opt/tools/bin/uv sync --frozen --quiet
      cp -p "$KEPT_ENV_FILE" "$ENV_FILE"
      systemctl start shop-web
      for _attempt in $(seq 600); do
        if curl -fs -o /dev/null "http://127.0.0.1:$PORT/health"; then
          exit
        fi
        sleep 0.1
      done
      echo "The app is not healthy after a minute." >&2
      exit 1
      ;;
  esac
done
