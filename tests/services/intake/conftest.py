"""A desk to take job files at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.intake.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder of its own, an empty database and an empty archive."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return Desk(folder)
