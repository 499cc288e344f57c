"""The gallery in a real browser: nothing complains, nothing is asked of anybody, no prompt comes alive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_gallery import HOSTILE, make_page, settings
from tests.fixtures.browser import visit

__all__ = ["settings"]

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(240)]


def test_the_browser_shows_it_and_nothing_more(settings: dict[str, str], tmp_path: Path) -> None:
    """Pictures and films load from the folder; the hostile prompts stay words."""
    page = tmp_path / "gallery.html"
    make_page(settings, page)
    seen = visit(page, tmp_path)
    assert seen.complaints == []
    assert "evil.example" not in seen.asked
    assert "<title>jobs.jsonl</title>" in seen.document
    assert "picture" in seen.document


def test_the_visit_would_see_a_prompt_that_comes_alive(tmp_path: Path) -> None:
    """What the test above relies on: unescaped and without a policy, the same prompt does everything it tries."""
    page = tmp_path / "careless.html"
    page.write_text(f"<!doctype html><title>jobs.jsonl</title><p>{HOSTILE}")
    seen = visit(page, tmp_path)
    assert "evil.example" in seen.asked
    assert "<title>jobs.jsonl</title>" not in seen.document
