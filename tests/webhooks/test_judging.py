"""A webhook is judged before anything is paid: by its URL, and by whether its events could be signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import load_settings
from orchestrator.domain.errors import ConfigError, RequestError
from orchestrator.wiring import webhook_judge

KEY = "the key of an installation, of chance enough"
SERVER = "postgresql://db.example/orchestrator"


def test_an_internal_address_is_refused(tmp_path: Path) -> None:
    """H18: by its spelling, before anybody is called; nothing is written for it."""
    judge = webhook_judge(load_settings({"data_dir": tmp_path}))
    judge("https://hooks.example/x")
    with pytest.raises(RequestError, match="internal"):
        judge("http://127.0.0.1/")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_promised_that_cannot_be_signed(tmp_path: Path) -> None:
    """On a shared database a webhook without ORCHESTRATOR_SECRET_KEY would wait for ever."""
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        webhook_judge(load_settings({"data_dir": tmp_path, "database_url": SERVER}))("https://hooks.example/x")
    webhook_judge(load_settings({"data_dir": tmp_path, "database_url": SERVER, "secret_key": KEY}))(
        "https://hooks.example/x"
    )
