"""The gallery for somebody who has only a keyboard: everything is reached, in order, and is seen to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_gallery import make_page, settings
from tests.fixtures.keyboard import Typist, typing_in

__all__ = ["settings"]

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(240)]

REACHABLE = "[...document.querySelectorAll('a[href], video, audio, [tabindex]')]"
FOCUSED = f"""(() => {{
  const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();
  return {{place: {REACHABLE}.indexOf(it), tag: it.tagName, outline: style.outlineStyle + " " + style.outlineWidth,
    seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight}};
}})()"""
MOST_TABS = 200


def tab_through(typist: Typist) -> list[dict[str, Any]]:
    """Return where each press of Tab leads, until it leaves the page; a player's own buttons count as the player."""
    steps: list[dict[str, Any]] = []
    for _ in range(MOST_TABS):
        typist.press("Tab")
        step = typist.ask(FOCUSED)
        if step["tag"] == "BODY" or (steps and step["place"] < steps[-1]["place"]):
            return steps
        steps.append(step)
    raise AssertionError(f"{MOST_TABS} presses of Tab do not lead out of the page")


def test_tab_reaches_everything_in_order_and_shows_where_it_is(settings: dict[str, str], tmp_path: Path) -> None:
    """Pictures, players, links and long texts, top to bottom, each in view with an outline; no stop that is nothing."""
    page = tmp_path / "gallery.html"
    make_page(settings, page)
    with typing_in(page, tmp_path) as typist:
        steps = tab_through(typist)
        places = [step["place"] for step in steps]
        assert sorted(set(places)) == list(range(typist.ask(f"{REACHABLE}.length")))
        assert places == sorted(places)
        assert {"A", "VIDEO", "BLOCKQUOTE"} <= {step["tag"] for step in steps}
        assert [step for step in steps if not step["seen"]] == []
        arrivals = [step for n, step in enumerate(steps) if n == 0 or step["place"] != steps[n - 1]["place"]]
        assert {step["outline"] for step in arrivals} == {"solid 3px"}  # a player's own buttons draw their own


def test_a_film_is_played_by_the_space_bar(settings: dict[str, str], tmp_path: Path) -> None:
    """The player that Tab has reached starts."""
    page = tmp_path / "gallery.html"
    make_page(settings, page)
    with typing_in(page, tmp_path) as typist:
        typist.ask("window.played = new Promise(done => document.querySelector('video').onplay = () => done(true)), 1")
        while typist.ask("document.activeElement.tagName") != "VIDEO":
            typist.press("Tab")
        typist.press(" ")
        assert typist.ask("window.played") is True
