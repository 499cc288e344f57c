"""The figures of the first page, on both databases: per owner, per hour, of today, and read once for all who look."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from orchestrator.console.charts import HEIGHT, draw_hours, round_up, share
from orchestrator.console.looking import CACHED_SECONDS, OverviewCache
from orchestrator.db.engine import Database
from orchestrator.db.models import SqlModels
from orchestrator.db.overview import SqlOverview
from orchestrator.domain.overview import DAY_HOURS, HourCount, Overview
from tests.db.conftest import database, move_engine, shared_postgres
from tests.db.driver import Driver
from tests.factories import make_draft
from tests.fixtures.clock import START, FakeClock

__all__ = ["database", "move_engine", "shared_postgres"]


@pytest.fixture
def read(database: Database) -> Callable[..., Overview]:
    """Give a function that looks."""
    return lambda owner=None: SqlOverview(database).read_overview(owner=owner, is_slot_held_until_final=True)


def test_nothing_yet(read: Callable[..., Overview]) -> None:
    """Zeros, and a chart of a day without bars."""
    seen = read()
    assert (seen.count("queued"), seen.ended("succeeded"), seen.unknown_count, seen.at_risk_count) == (0, 0, 0, 0)
    assert len(seen.hours) == DAY_HOURS
    assert seen.cost_today == {}


def test_what_goes_on_and_what_ended(database: Database, clock: FakeClock, read: Callable[..., Overview]) -> None:
    """Counts by state and model, ends in their hour, money of today, calls that nobody explains, slots in use."""
    driver = Driver(database, clock)
    driver.add_succeeded(task_id="task-1")
    clock.advance(timedelta(hours=2))
    driver.add_succeeded(task_id="task-2")
    driver.add_held(model="viduq1-text")
    driver.add_many(3)
    SqlModels(database).set_limit("default", "viduq1-text", 9)
    seen = read()
    assert seen.slot_limits == {"viduq1-text": 9}
    assert (seen.count("queued"), seen.count("needs_review"), seen.ended("succeeded")) == (3, 1, 2)
    assert seen.going["needs_review", "viduq1-text"] == 1
    assert [hour.by_state.get("succeeded", 0) for hour in seen.hours[-3:]] == [1, 0, 1]
    assert seen.hours[-1].hour == clock.now().replace(minute=0, second=0, microsecond=0)
    assert (seen.unknown_count, seen.slots_held) == (1, {"viduq1-text": 1})
    assert seen.cost_today == {"USD": 400_000}


def test_yesterday_is_no_part_of_today(database: Database, clock: FakeClock, read: Callable[..., Overview]) -> None:
    """Money counts from midnight UTC, ends for a day of hours."""
    Driver(database, clock).add_succeeded()
    clock.advance(timedelta(hours=13))
    assert (read().ended("succeeded"), read().cost_today) == (1, {})
    clock.advance(timedelta(hours=12))
    assert read().ended("succeeded") == 0


def test_links_that_end_soon(database: Database, clock: FakeClock, read: Callable[..., Overview]) -> None:
    """An output that is not archived counts once its link has less than half a day left."""
    driver = Driver(database, clock)
    driver.add_archiving(make_draft(expires_at=START + timedelta(hours=40)), task_id="task-1")
    assert read().at_risk_count == 0
    driver.add_archiving(make_draft(expires_at=START + timedelta(hours=5)), task_id="task-2")
    assert (read().at_risk_count, read().soonest_expiry_at) == (1, START + timedelta(hours=5))


def test_each_sees_their_own(database: Database, clock: FakeClock, read: Callable[..., Overview]) -> None:
    """Of another owner's jobs nothing is counted."""
    driver = Driver(database, clock)
    driver.add_held(owner="other")
    driver.add_succeeded(owner="other")
    seen = read("studio")
    assert (seen.going, seen.ended("succeeded"), seen.cost_today, seen.unknown_count) == ({}, 0, {}, 0)
    assert read("other").unknown_count == 1


def test_a_look_serves_all_who_come(database: Database, clock: FakeClock) -> None:
    """Within three seconds nobody asks the database again; one owner's look is never shown to another."""
    driver, cache = Driver(database, clock), OverviewCache(SqlOverview(database), clock)
    assert cache.read(None).count("queued") == 0
    driver.add_many(1)
    assert cache.read(None).count("queued") == 0
    assert cache.read("local").count("queued") == 1
    clock.advance(timedelta(seconds=CACHED_SECONDS))
    assert cache.read(None).count("queued") == 1


def test_the_chart_adds_up() -> None:
    """Bars of an hour stand on each other and never leave the box; the words say the same."""
    hours = [HourCount(START, {"succeeded": 30, "failed": 10}), HourCount(START + timedelta(hours=1), {})]
    chart = draw_hours(hours)
    full, empty = chart.columns
    assert chart.top == 50
    assert sum(bar.height for bar in full.bars) == pytest.approx(HEIGHT * 40 / 50)
    assert full.bars[0].y + full.bars[0].height == pytest.approx(HEIGHT)
    assert full.bars[1].y + full.bars[1].height == pytest.approx(full.bars[0].y)
    assert (full.words, empty.bars) == ("12:00 UTC: 30 succeeded, 10 failed", ())
    assert [round_up(count) for count in (0, 5, 6, 11, 21, 51, 101)] == [5, 5, 10, 20, 50, 100, 200]
    assert (share(3, 6, 100), share(9, 6, 100), share(1, 0, 100)) == (50.0, 100.0, 0.0)
