"""Killed while sending parts: one sweep clears up behind all of them. `python -m bench.uploads` kills two hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crashes.uploads import PARTS, Kills, kill_uploads
from tests.fixtures.strict_s3 import running_strict_s3

pytestmark = pytest.mark.acceptance


def test_one_sweep_clears_up_behind_every_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E14: a kill after each number of parts: no object is visible, each upload is open, and none is after the sweep."""
    with running_strict_s3() as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.address.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.address.secret_access_key)
        assert kill_uploads(server, tmp_path, PARTS) == Kills(PARTS, PARTS, PARTS, 0, 0)
