"""Design section 7: after a restore no paid call is made until somebody has looked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from orchestrator.db.engine import Database
from orchestrator.db.restoring import ROWS_AT_ONCE, SqlRestores
from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import RESTORED_IN_DOUBT, RESTORED_QUEUED, Verdict
from orchestrator.domain.outcomes import NotSent, TaskAccepted, ThrottledNow
from orchestrator.domain.states import State, Trigger
from orchestrator.services.lifecycle import cancel_job, retry_job
from tests.db.driver import Driver

ALL = {"*": 1000}


@pytest.fixture
def restores(database: Database) -> SqlRestores:
    return SqlRestores(database)


def hold(restores: SqlRestores) -> dict[State, int]:
    return dict(restores.hold(actor="alex", reason="disk died"))


def test_nothing_can_be_submitted_between_hold_and_release(driver: Driver, restores: SqlRestores) -> None:
    """The promise itself, for a queue of more than one statement's rows; what was running goes on."""
    running = driver.add_processing("task-9")
    queued = driver.add_many(ROWS_AT_ONCE + 3)
    assert restores.count_holdable() == {State.QUEUED: len(queued)}
    assert hold(restores) == {State.QUEUED: len(queued)}
    driver.clock.advance(timedelta(days=2))
    assert driver.claim(limit=10, slots=ALL) == ()
    assert driver.state(running.id) is State.PROCESSING
    assert restores.release(queued[:2], actor="alex", reason="looked") == 2
    assert {row.job.id for row in driver.claim(limit=10, slots=ALL)} == set(queued[:2])


def test_every_job_says_who_and_why(driver: Driver, restores: SqlRestores) -> None:
    """Promise 14: hold and release are events with actor and reason."""
    (job_id,) = driver.add_many(1)
    hold(restores)
    restores.release([job_id], actor="alex", reason="looked at the bill")
    first, second = driver.history.list_events(job_id)[-2:]
    assert (first.type, first.actor, first.data["was"]) == (Trigger.RESTORED, "alex", "queued")
    assert "disk died" in first.reason
    assert (second.type, second.actor, second.reason) == (Trigger.RELEASED, "alex", "looked at the bill")
    assert driver.get(job_id).provider_code is None


def test_a_call_in_flight_is_unknown_and_only_its_task_moves_it(driver: Driver, restores: SqlRestores) -> None:
    """It ended after the backup; a refusal of it may have been followed by a call that is not known here."""
    driver.add_many(2)
    refused, taken = driver.claim(limit=2, slots=ALL)
    assert hold(restores) == {State.SUBMITTING: 2}
    row = driver.row(SUBMISSIONS, refused.submission.id)
    assert (row["verdict"], row["decided_by"]) == (Verdict.UNKNOWN, "alex")
    driver.report_late(refused.submission.id, NotSent("connect_failed", "refused"))
    driver.report_late(taken.submission.id, TaskAccepted("task-1"))
    assert driver.get(refused.job.id).provider_code == RESTORED_IN_DOUBT
    assert driver.state(refused.job.id) is State.NEEDS_REVIEW
    assert driver.state(taken.job.id) is State.PROCESSING
    assert restores.release([refused.job.id], actor="alex", reason="") == 0


def test_an_old_refusal_in_a_journal_does_not_let_go(driver: Driver, restores: SqlRestores) -> None:
    """A record that the database already had is replayed after every restore."""
    driver.add_many(1)
    row = driver.claim_one(slots=ALL)
    throttled = ThrottledNow("1302", "too many")
    driver.report(row, throttled)
    hold(restores)
    driver.report_late(row.submission.id, throttled)
    assert driver.state(row.job.id) is State.NEEDS_REVIEW


def test_what_was_held_before_is_not_released(driver: Driver, restores: SqlRestores) -> None:
    """It waits for a person's word about that job, as before; its late refusal no longer queues it."""
    job = driver.add_held()
    (submission,) = driver.history.list_submissions(job.id)
    assert hold(restores) == {State.NEEDS_REVIEW: 1}
    assert restores.list_held() == []
    assert restores.release([job.id], actor="alex", reason="") == 0
    driver.report_late(submission.submission.id, NotSent("connect_failed", "refused"))
    assert driver.state(job.id) is State.NEEDS_REVIEW


def test_holding_twice_changes_nothing(driver: Driver, restores: SqlRestores) -> None:
    """The command is run on every host."""
    (job_id,) = driver.add_many(1)
    hold(restores)
    events = driver.events(job_id)
    assert hold(restores) == {}
    assert driver.events(job_id) == events
    assert driver.get(job_id).provider_code == RESTORED_QUEUED


def test_a_held_job_is_neither_retried_nor_cancelled(driver: Driver, restores: SqlRestores) -> None:
    """The rules of needs_review: no new charge without resubmitting on purpose."""
    (job_id,) = driver.add_many(1)
    hold(restores)
    with pytest.raises(Conflict, match="pay twice"):
        retry_job(driver.jobs, job_id, rules=driver.rules, may_charge=True, actor="alex", reason="")
    with pytest.raises(Conflict):
        cancel_job(driver.jobs, job_id, actor="alex", reason="")


def test_what_is_released_keeps_its_time_and_wakes_its_batch(driver: Driver, restores: SqlRestores) -> None:
    """not_before and an unfinished dependency hold as they did; a batch that closed over held jobs runs again."""
    later = driver.clock.now() + timedelta(hours=5)
    early, waiting = driver.add_many(1, not_before=later), driver.add_many(1)
    with driver.database.begin_write() as connection:
        wait = update(JOBS).where(JOBS.c.id == waiting[0])
        connection.execute(wait.values(waiting_on_count=1, due_at=None))
    hold(restores)
    assert len(driver.batches.finish_done()) == 2
    restores.release([*early, *waiting], actor="alex", reason="")
    assert driver.get(early[0]).due_at == later
    assert driver.get(waiting[0]).due_at is None
    assert driver.batches.finish_done() == []


def test_released_jobs_can_be_paged(driver: Driver, restores: SqlRestores) -> None:
    ids = driver.add_many(5)
    hold(restores)
    first = restores.list_held(limit=3)
    rest = restores.list_held(after=first[-1].id, limit=3)
    assert [job.id for job in [*first, *rest]] == sorted(ids)


def test_what_the_database_knows(driver: Driver, restores: SqlRestores) -> None:
    """The age of the backup, and which ids of journals and manifests have rows."""
    assert restores.find_newest_event() is None
    ids = driver.add_many(2)
    assert restores.find_newest_event() == driver.clock.now()
    assert restores.find_known_jobs({*ids, "job_of_later"}) == frozenset(ids)
    row = driver.claim_one(limit=1, slots=ALL)
    assert restores.find_known_submissions({row.submission.id, "sub_of_later"}) == {row.submission.id}
    driver.jobs.claim_sweep("journals:host-b", every=timedelta(seconds=30), lease=timedelta(seconds=30))
    driver.jobs.claim_sweep("finished_batches", every=timedelta(seconds=30), lease=timedelta(seconds=30))
    assert restores.list_journal_hosts() == ["host-b"]
