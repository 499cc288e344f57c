"""`archive thumbnails`, and what the doctor and a gallery make of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from orchestrator.sandbox import SandboxOptions, start
from tests.cli.test_gallery import Page, call, make_page, settings_of

LINES = (
    {"custom_id": "film", "kind": "video", "body": {"model": "viduq1-text", "prompt": "a lamp"}},
    {
        "custom_id": "picture",
        "kind": "image",
        "body": {"model": "cogview-4-250304", "prompt": "a lamp", "size": "512x512"},
    },
)
NONE = {"ORCHESTRATOR_THUMBNAIL_PIXELS": "0"}


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the settings of a data directory with a film, its cover and a picture, all without thumbnails."""
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        settings = settings_of(tmp_path, sandbox) | {"ORCHESTRATOR_THUMBNAIL_PIXELS": "128"}
        assert call(settings | NONE, "run", str(tmp_path / "jobs.jsonl")).exit_code == 0
        yield settings


def small_files(settings: dict[str, str]) -> list[Path]:
    return sorted(Path(settings["ORCHESTRATOR_DATA_DIR"], "archive").rglob("*.mp4.poster.jpg")) + sorted(
        Path(settings["ORCHESTRATOR_DATA_DIR"], "archive").rglob("*.thumb.jpg")
    )


def test_missing_ones_are_made_and_shown(settings: dict[str, str], tmp_path: Path) -> None:
    """Once: a second run finds nothing to do. The page then loads small pictures and leads to the whole ones."""
    page = Page(make_page(settings, tmp_path / "gallery.html"))
    assert small_files(settings) == []
    assert not [address for address in page.addresses() if "thumb.jpg" in address]
    made = call(settings, "archive", "thumbnails", "-o", "json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout) == {"object": "thumbnails", "made": 3, "failed": 0}
    assert len(small_files(settings)) == 3
    again = call(settings, "archive", "thumbnails", "-o", "json")
    assert json.loads(again.stdout)["made"] == 0
    page = Page(make_page(settings, tmp_path / "gallery.html"))
    shown = [
        unquote(a[name])
        for tag, a in page.elements
        for name in ("src", "poster")
        if tag in ("img", "video")
        if name in a
    ]
    small = [tmp_path / address for address in shown if address.endswith(".thumb.jpg")]
    assert len(small) == 2
    for path in small:
        with Image.open(path) as picture:
            assert max(picture.size) == 128
    whole = {unquote(a["href"]) for tag, a in page.elements if tag == "a"}
    assert {address.removesuffix(".thumb.jpg") for address in shown if address.endswith(".thumb.jpg")} & whole
    checked = call(settings, "archive", "verify", "--no-mend")
    assert checked.exit_code == 0, checked.stdout


def test_an_embedded_page_holds_the_small_ones(settings: dict[str, str], tmp_path: Path) -> None:
    """What is sent by mail stays short."""
    assert call(settings, "archive", "thumbnails").exit_code == 0
    text = make_page(settings, tmp_path / "gallery.html", "--embed")
    assert text.count("data:image/jpeg;base64,") == 2
    assert "data:image/png" not in text


def test_where_none_are_made_the_command_says_why(settings: dict[str, str]) -> None:
    """Exit 2 that names the setting; the doctor has a line and no finding."""
    refused = call(settings | NONE, "archive", "thumbnails")
    assert refused.exit_code == 2
    assert "ORCHESTRATOR_THUMBNAIL_PIXELS" in refused.stderr
    report = call(settings | NONE, "doctor", "-o", "json")
    assert "ORCHESTRATOR_THUMBNAIL_PIXELS is 0" in report.stdout
    assert "made by Pillow" in call(settings, "doctor", "-o", "json").stdout
