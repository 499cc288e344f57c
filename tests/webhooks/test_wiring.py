"""Where the key that seals comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import load_settings
from orchestrator.domain.errors import ConfigError
from orchestrator.wiring import make_secret_box


def test_the_setting_is_used_where_there_is_one(tmp_path: Path) -> None:
    """Every process with the same key agrees, and nothing is written."""
    flags = {"data_dir": tmp_path, "secret_key": "k" * 32, "database_url": "postgresql://db/x"}
    one, two = (make_secret_box(load_settings(flags)) for _ in range(2))
    assert one.default_secret == two.default_secret
    assert list(tmp_path.iterdir()) == []


def test_a_laptop_gets_a_key_of_its_own(tmp_path: Path) -> None:
    """Nothing to configure: it is made on first need and found again."""
    settings = load_settings({"data_dir": tmp_path})
    secret = make_secret_box(settings).default_secret
    assert settings.secret_key_file.exists()
    assert make_secret_box(settings).default_secret == secret


def test_a_fleet_without_the_setting_is_told(tmp_path: Path) -> None:
    """A key made here would open nothing on the next host."""
    settings = load_settings({"data_dir": tmp_path, "database_url": "postgresql://db/x"})
    with pytest.raises(ConfigError, match="every process") as caught:
        make_secret_box(settings)
    assert caught.value.setting == "ORCHESTRATOR_SECRET_KEY"
    assert list(tmp_path.iterdir()) == []
