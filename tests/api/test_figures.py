"""What /metrics asks of the database: seldom, and the more seldom the longer it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.api.figures import CACHED_SECONDS, TOTALS_SHARE, FiguresCache
from orchestrator.api.metrics import make_metrics
from orchestrator.domain.figures import Figures, Totals
from tests.fixtures.clock import START, FakeClock


class SlowSource:
    """Counts how often it is asked; adding up takes as long as the test says."""

    def __init__(self, clock: FakeClock, takes: timedelta) -> None:
        self.clock, self.takes = clock, takes
        self.looks = self.sums = 0

    def read(self, *, is_slot_held_until_final: bool) -> Figures:
        assert is_slot_held_until_final
        self.looks += 1
        return Figures(self.clock.now())

    def read_totals(self) -> Totals:
        self.sums += 1
        self.clock.advance(self.takes)
        return Totals()


def test_a_long_history_is_added_up_seldom() -> None:
    """At most a 20th of the time goes into it, while what goes on is never older than five seconds."""
    clock = FakeClock(START)
    source = SlowSource(clock, timedelta(seconds=2))
    cache = FiguresCache(source, clock, is_slot_held_until_final=True)
    for _ in range(10):
        cache.read()
        cache.read_totals()
        clock.advance(timedelta(seconds=CACHED_SECONDS))
    assert source.looks == 10
    assert source.sums == 2
    assert 2 * TOTALS_SHARE <= 10 * CACHED_SECONDS + 2 * 2


def test_whoever_asks_again_at_once_asks_nobody() -> None:
    """Scrapes of several monitors are one look."""
    clock = FakeClock(START)
    source = SlowSource(clock, timedelta())
    cache = FiguresCache(source, clock, is_slot_held_until_final=True)
    assert cache.read() is cache.read()
    assert cache.read_totals() is cache.read_totals()
    cache.forget()
    cache.read()
    cache.read_totals()
    assert (source.looks, source.sums) == (2, 2)


def test_the_limit_that_holds_is_shown() -> None:
    """An operator's before the settings'; a model that no setting names has the limit of the rest."""
    seen = Figures(datetime(2026, 1, 1, tzinfo=UTC), slots_held={"new": 2, "b": 1}, slot_limits={"b": 9})
    shown = {metric.name: metric for metric in make_metrics(seen, Totals(), {"a": 3, "b": 4, "*": 5})}
    limits = {sample.labels["model"]: sample.value for sample in shown["orchestrator_slots_limit"].samples}
    used = {sample.labels["model"]: sample.value for sample in shown["orchestrator_slots_in_use"].samples}
    assert limits == {"a": 3, "b": 9, "new": 5}
    assert used == {"a": 0, "b": 1, "new": 2}
