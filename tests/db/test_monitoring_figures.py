"""The figures of /metrics, on both databases: what they count is what the rows say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from orchestrator.db.figures import SqlFigures
from orchestrator.db.models import SqlModels
from orchestrator.db.pauses import MODEL_LIMITS
from orchestrator.domain.figures import Figures, Totals
from orchestrator.domain.outcomes import OutputsReady, ProviderFailed, Rejected, TaskAccepted
from orchestrator.domain.ports import LaneName
from orchestrator.domain.webhooks import DeliveryState
from orchestrator.services.lifecycle import retry_job
from tests.db.delivering import DOWN, Post
from tests.db.driver import Driver
from tests.factories import HOUR, make_draft
from tests.fixtures.clock import START


@pytest.fixture
def look(driver: Driver) -> Callable[[], Figures]:
    """Give a function that looks."""
    return lambda: SqlFigures(driver.database).read(is_slot_held_until_final=True)


@pytest.fixture
def add_up(driver: Driver) -> Callable[[], Totals]:
    """Give a function that adds the history up."""
    return SqlFigures(driver.database).read_totals


def test_nothing_yet(look: Callable[[], Figures], add_up: Callable[[], Totals]) -> None:
    """An empty installation has figures too."""
    seen, sums = look(), add_up()
    assert (seen.jobs, sums.jobs, sums.failures, sums.deliveries, sums.notice_lags) == ({}, {}, {}, {}, [])
    assert (seen.oldest_poll_at, seen.oldest_delivery_at, seen.failing_endpoint_count) == (None, None, 0)


def test_jobs_money_and_slots(driver: Driver, look: Callable[[], Figures], add_up: Callable[[], Totals]) -> None:
    """By state, kind and model; failures by code; what is held and what an operator allows."""
    driver.add_many(1)
    driver.report(driver.claim_one(), Rejected("1214", "bad size"))
    driver.add_succeeded(task_id="task-1")
    driver.add_held(model="cogview-4")
    SqlModels(driver.database).set_limit("default", "cogview-4", 7)
    seen, sums = look(), add_up()
    assert seen.jobs == {("needs_review", "video", "cogview-4"): 1}
    assert sums.jobs == {("failed", "video", "cogvideox-3"): 1, ("succeeded", "video", "cogvideox-3"): 1}
    assert sums.failures == {("invalid_params", "video", "cogvideox-3"): 1}
    assert (seen.slots_held, seen.slot_limits) == ({"cogview-4": 1}, {"cogview-4": 7})
    assert (seen.unknown_count, sums.cost_micros) == (1, {"USD": 200_000})


def test_what_was_paid_never_falls(driver: Driver, add_up: Callable[[], Totals]) -> None:
    """Prometheus takes a counter that falls for one that began anew, and adds the whole history to the last day's cost."""
    seen = []
    job = driver.add_succeeded(task_id="task-1")
    seen.append(add_up().cost_micros)
    failing = driver.add_processing(task_id="task-2")
    seen.append(add_up().cost_micros)
    driver.finish_poll(failing.id, ProviderFailed("1234", "it failed"))
    seen.append(add_up().cost_micros)
    assert driver.get(job.id).cost_final_micros == 200_000
    retry_job(driver.jobs, failing.id, rules=driver.rules, may_charge=True, actor="ann", reason="")
    seen.append(add_up().cost_micros)
    assert seen == [{"USD": 200_000}] * 4
    driver.report(driver.claim_one(), TaskAccepted("task-3"))
    driver.finish_poll(failing.id, OutputsReady((make_draft(),)))
    assert add_up().cost_micros == {"USD": 400_000}


def test_times(driver: Driver, look: Callable[[], Figures], add_up: Callable[[], Totals]) -> None:
    """Waits and durations add up per kind and model; the first link's end is the least."""
    driver.add_many(1)
    assert look().oldest_queued_at == START
    driver.clock.advance(timedelta(seconds=90))
    driver.report(driver.claim_one(), TaskAccepted("task-0"))
    driver.add_archiving(make_draft(expires_at=START + 30 * HOUR), task_id="task-1")
    driver.add_archiving(make_draft(expires_at=START + 20 * HOUR), task_id="task-2")
    seen = look()
    assert (seen.soonest_expiry_at, seen.oldest_queued_at) == (START + 20 * HOUR, None)
    (wait,), (provider,) = add_up().queue_waits, add_up().provider_times
    assert (wait.kind, wait.model, wait.count, round(wait.total_seconds, 2)) == ("video", "cogvideox-3", 3, 90.0)
    assert (provider.count, provider.total_seconds > 0) == (2, True)


def test_an_overdue_question(driver: Driver, look: Callable[[], Figures]) -> None:
    """Counted from when it was due, and not while its model or its account is paused."""
    job = driver.add_processing()
    assert look().oldest_poll_at is None
    driver.clock.advance(10 * HOUR)
    assert look().oldest_poll_at == job.due_at
    with driver.database.begin_write() as connection:
        until = {"poll_paused_until": driver.clock.now() + HOUR}
        paused = connection.execute(update(MODEL_LIMITS).where(MODEL_LIMITS.c.model == job.model).values(until))
    assert paused.rowcount == 1
    assert look().oldest_poll_at is None


def test_how_late_an_end_was_noticed(driver: Driver, add_up: Callable[[], Totals]) -> None:
    """From when it was last known to run; where that is not known nothing is added."""
    driver.add_archiving(task_id="task-1")
    assert add_up().notice_lags == []
    job = driver.add_processing(task_id="task-2")
    held = driver.hold(LaneName.POLL, job.id)
    ended = driver.decide(held, OutputsReady((make_draft(),)))
    known = driver.clock.now() - timedelta(seconds=30)
    driver.jobs.apply([(held, replace(ended, last_running_at=known))])
    (lag,) = add_up().notice_lags
    assert (lag.kind, lag.model, lag.count, round(lag.total_seconds, 2)) == ("video", "cogvideox-3", 1, 30.0)


def test_deliveries(driver: Driver, look: Callable[[], Figures], add_up: Callable[[], Totals]) -> None:
    """By state; the one that has waited longest; endpoints that fail until they take something."""
    post = Post(driver)
    endpoint = post.add()
    post.driver.add_succeeded(task_id="task-1")
    begun = driver.clock.now()
    assert (add_up().deliveries, look().oldest_delivery_at) == ({DeliveryState.PENDING: 1}, begun)
    post.receivers.answers[endpoint.url] = DOWN
    post.take_turns()
    assert look().failing_endpoint_count == 1
    del post.receivers.answers[endpoint.url]
    post.go_on_for(HOUR)
    seen = look()
    assert (add_up().deliveries, seen.oldest_delivery_at) == ({DeliveryState.DELIVERED: 1}, None)
    assert seen.failing_endpoint_count == 0
