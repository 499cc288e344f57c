"""Whether thumbnails are made follows from a setting and from what is installed; without them nothing else changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.config import load_settings
from orchestrator.domain.errors import Transient
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.thumbnails import find_libraries
from orchestrator.wiring import describe_thumbnails, make_thumbnails, open_app, open_lanes


def test_with_the_libraries_they_are_made() -> None:
    """On by default, and `doctor` names what makes them."""
    settings = load_settings({})
    assert make_thumbnails(settings) is not None
    assert str(find_libraries()) in describe_thumbnails(settings)
    assert "512 pixels" in describe_thumbnails(settings)


def test_nobody_has_to_want_them() -> None:
    """A setting turns them off."""
    settings = load_settings({"thumbnail_pixels": 0})
    assert make_thumbnails(settings) is None
    assert "ORCHESTRATOR_THUMBNAIL_PIXELS is 0" in describe_thumbnails(settings)


@pytest.mark.parametrize("missing", ["Pillow", "av"])
def test_without_the_extra_there_are_none(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """No error, and a line that says what brings them."""
    monkeypatch.setitem(find_libraries.__globals__["_NEEDED"], missing, "no_such_module")
    settings = load_settings({})
    assert make_thumbnails(settings) is None
    assert "media-orchestrator[media]" in describe_thumbnails(settings)


def test_lanes_that_are_closed_wait_for_no_decoder(tmp_path: Path) -> None:
    """Reading a pipe that nobody writes to never ends by itself: a worker's end must not wait for the decoder's own."""
    settings = load_settings({"data_dir": tmp_path, "zai_api_key": "id.secret"})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open_app(settings, may_migrate=True) as app, open_lanes(app, Mailboxes()) as context:
        assert context.thumbnails is not None
        asked = context.storing.submit(context.thumbnails.make, pipe, "image/png")
    error = asked.exception()
    assert isinstance(error, Transient)
    assert error.code == "thumbnail_given_up"
