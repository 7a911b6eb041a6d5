# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this release understands in its configuration."""

from collections.abc import Iterator, Mapping
from typing import Any

ENVIRONMENT = ("DATABASE_URL", "SHOP_NAME")
SECTIONS = {"shop": ("currency", "page_size")}


def faults(config: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each value that this release cannot work with."""
    if config["shop"]["page_size"] < 1:
        yield "shop.page_size must be 1 or more"
