# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The app's settings: config/app.toml in the repository and the machine's env file outside it."""

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shop import rules

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Settings:
    """What the app works with. ``faults`` are sentences for /health: a fault must not keep the shop closed."""

    release: str
    config: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str]
    faults: tuple[str, ...]

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]


def env_file() -> Path:
    """Return the machine's env file: $SHOP_ENV_FILE, else etc/shop.env beside the repository with the .venv in use."""
    return Path(os.environ.get("SHOP_ENV_FILE") or Path(sys.prefix).parents[1] / "etc" / "shop.env")


def read_env_file(path: Path) -> dict[str, str]:
    """Return the NAME=value lines of an env file."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}


def load(config_file: Path = ROOT / "config" / "app.toml") -> Settings:
    """Read the settings. Variables in the environment beat those in the env file."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        release = tomllib.load(stream)["project"]["version"]
    with config_file.open("rb") as stream:
        config = tomllib.load(stream)
    path = env_file()
    from_file = read_env_file(path) if path.exists() else {}
    environment = from_file | {name: os.environ[name] for name in rules.ENVIRONMENT if name in os.environ}
    return Settings(release, config, environment, tuple(_faults(config, from_file, release)))


def _faults(config: Mapping[str, Mapping[str, Any]], from_file: Mapping[str, str], release: str) -> Iterator[str]:
    known = {f"{section}.{key}" for section, keys in rules.SECTIONS.items() for key in keys}
    given = {f"{section}.{key}" for section, keys in config.items() for key in keys}
    for name in sorted(given - known):
        yield f"{name} in config/app.toml is not known to release {release}"
    for name in sorted(known - given):
        yield f"{name} is missing in config/app.toml"
    for name in sorted(set(from_file) - set(rules.ENVIRONMENT)):
        yield f"{name} in the env file is not known to release {release}"
    if known <= given:
        yield from rules.faults(config)
