"""Secrets at rest: they open with the same key for the same endpoint, and with nothing else."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from orchestrator.domain.errors import ConfigError
from orchestrator.webhooks import SecretBox, decode_secret, read_or_make_key

KEY = "k" * 32
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_secret_comes_back_and_does_not_show() -> None:
    """Promise 13: what is stored says nothing, and twice the same secret is stored as two texts."""
    box = SecretBox(KEY)
    secret = box.new_secret()
    first, second = (box.seal(secret, endpoint_id="we_1") for _ in range(2))
    assert first != second
    assert secret.removeprefix("whsec_") not in first
    assert SecretBox(KEY).open(first, endpoint_id="we_1") == secret


@pytest.mark.parametrize(
    ("key", "endpoint_id"), [("x" * 32, "we_1"), (KEY, "we_2")], ids=["another key", "another endpoint"]
)
def test_another_key_or_endpoint_is_told_by_the_settings_name(key: str, endpoint_id: str) -> None:
    sealed = SecretBox(KEY).seal(SecretBox(KEY).new_secret(), endpoint_id="we_1")
    with pytest.raises(ConfigError, match=endpoint_id) as caught:
        SecretBox(key).open(sealed, endpoint_id=endpoint_id)
    assert caught.value.setting == "ORCHESTRATOR_SECRET_KEY"


@pytest.mark.parametrize("change", [lambda s: s[:-5], lambda s: "v9" + s[2:], lambda s: "v1.?", lambda s: ""])
def test_a_damaged_text_is_told_too(change: object) -> None:
    assert callable(change)
    sealed = SecretBox(KEY).seal(SecretBox(KEY).new_secret(), endpoint_id="we_1")
    with pytest.raises(ConfigError):
        SecretBox(KEY).open(change(sealed), endpoint_id="we_1")


def test_the_default_secret_belongs_to_the_key() -> None:
    """Every process with the same key signs alike; it is a secret like any other, and not what seals."""
    secret = SecretBox(KEY).default_secret
    assert secret == SecretBox(KEY).default_secret != SecretBox("x" * 32).default_secret
    assert len(decode_secret(secret)) == 32
    assert Webhook(secret).sign("evt_1", AT, "{}")


def test_new_secrets_differ() -> None:
    assert SecretBox(KEY).new_secret() != SecretBox(KEY).new_secret()


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """I15: mode 0600, whatever the umask; nothing else is left behind."""
    path = tmp_path / "new" / "secret.key"
    before = os.umask(0)
    try:
        key = read_or_make_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_key(path) == key
    assert len(key) >= 43
    assert [each.name for each in path.parent.iterdir()] == ["secret.key"]


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    """The file is there whole or not at all, and the first one stays."""
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: read_or_make_key(tmp_path / "secret.key"), range(64)))
    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """I15: it would open every endpoint's secret."""
    path = tmp_path / "secret.key"
    read_or_make_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_or_make_key(path)


def test_a_link_or_an_emptied_file_is_refused(tmp_path: Path) -> None:
    """I15: never through a link; and a lost key is told, not replaced: what it sealed would be lost with it."""
    path = tmp_path / "secret.key"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("e" * 64)
    elsewhere.chmod(0o600)
    path.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="symbolic links"):
        read_or_make_key(path)
    path.unlink()
    path.touch(mode=0o600)
    with pytest.raises(ConfigError, match="backup"):
        read_or_make_key(path)
