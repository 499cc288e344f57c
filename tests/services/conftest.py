"""Fixtures of the lane tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.services.desk import Desk, open_desk


@pytest.fixture
def lane_desk(tmp_path: Path, database_url: str) -> Iterator[Desk]:
    """Give a desk on either database."""
    with start(SandboxOptions(seed=3, speed=50.0)) as sandbox, open_desk(sandbox, tmp_path, database_url) as desk:
        yield desk
