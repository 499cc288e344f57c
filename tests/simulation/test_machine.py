"""Hypothesis chooses the story: a few of them in every run; `python -m tests.simulation.machine` looks for longer."""

from __future__ import annotations

import pytest

from tests.simulation.machine import GENERATED_ONLY, look
from tests.simulation.provider import MemoryProvider


def test_no_story_that_hypothesis_tells_breaks_a_promise() -> None:
    """The same stories in every run: claims, calls, answers, deaths, lapses and people in an order of its choice."""
    look(6, steps=30, derandomize=True)


def test_a_broken_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that cannot fail proves nothing: here the provider takes every request twice."""
    take = MemoryProvider.take
    monkeypatch.setattr(MemoryProvider, "take", lambda self, request: (take(self, request), take(self, request))[1])
    with pytest.raises(AssertionError, match=r"was charged 2 times|more tasks at once"):
        look(10, steps=30, derandomize=True, phases=GENERATED_ONLY, report_multiple_bugs=False)
