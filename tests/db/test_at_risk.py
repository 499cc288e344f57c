"""Promise 7: half of a link's life unarchived raises an event, once a job, in one transaction with its history row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import Update, update

from orchestrator.db.audit import SqlAudit
from orchestrator.db.rows import JOBS, OUTPUTS
from orchestrator.domain.errors import Transient
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import ArchiveStep, OutputsReady, OutputStored
from orchestrator.domain.ports import LaneName
from tests.db.delivering import Post
from tests.db.driver import Driver
from tests.db.test_outputs import ask_again
from tests.factories import HOUR, make_draft, make_file
from tests.fixtures.clock import START

SECOND = timedelta(seconds=1)
DYING = {"output_at_risk", "output_expired"}


@pytest.fixture
def post(driver: Driver) -> Post:
    """Give the deliver lane of that database."""
    return Post(driver)


def add(driver: Driver, hours: float = 24, count: int = 1) -> Job:
    """Lead a job whose links live so long to `archiving`."""
    drafts = [make_draft(index, expires_at=driver.clock.now() + hours * HOUR) for index in range(count)]
    return driver.add_archiving(*drafts, task_id=f"task-{hours}")


def told(driver: Driver, job: Job) -> int:
    """Return how often the history says that the job is at risk."""
    return driver.events(job.id).count("output_at_risk")


def test_half_of_a_life_is_told_once(post: Post) -> None:
    """Not before the half, then once, whatever sweeps follow; the event has the number of its history row."""
    driver = post.driver
    post.add()
    job = add(driver, count=2)
    half = min(driver.row(OUTPUTS, output.id)["at_risk_at"] for output in driver.get(job.id).outputs)
    driver.clock.advance(half - driver.clock.now() - SECOND)
    assert driver.jobs.tell_at_risk(limit=10) == ()
    driver.clock.advance(SECOND)
    assert driver.jobs.tell_at_risk(limit=10) == (job.id,)
    driver.clock.advance(HOUR)
    assert driver.jobs.tell_at_risk(limit=10) == ()
    (event,) = [event for event in driver.history.list_events(job.id) if event.type == "output_at_risk"]
    assert event.data["output_count"] == 2
    assert driver.row(JOBS, job.id)["sequence"] == event.sequence
    (record,) = post.records()
    assert (record.event_type, record.job_id) == ("job.at_risk", job.id)
    post.take_turns()
    (sending,) = post.receivers.received
    assert f'"sequence":{event.sequence}'.encode() in sending.body


def test_only_who_subscribed_hears_of_it(post: Post) -> None:
    """By name or by family; another name hears nothing."""
    driver = post.driver
    by_name = post.add("https://a.example/", "job.at_risk")
    by_family = post.add("https://b.example/", "job.*")
    post.add("https://c.example/", "job.failed")
    add(driver)
    driver.clock.advance(13 * HOUR)
    driver.jobs.tell_at_risk(limit=10)
    assert {record.endpoint_id for record in post.records()} == {by_name.id, by_family.id}


def test_the_event_and_its_row_are_one_transaction(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the event cannot be written the job is not told either, and the next sweep tells it."""
    driver = post.driver
    post.add()
    job = add(driver)
    driver.clock.advance(13 * HOUR)

    def fail(*_: object, **__: object) -> None:
        raise Transient("database_unavailable", "gone")

    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.db.outbox.record_jobs", fail)
        with pytest.raises(Transient):
            driver.jobs.tell_at_risk(limit=10)
    assert told(driver, job) == 0
    assert driver.jobs.tell_at_risk(limit=10) == (job.id,)
    assert len(post.records()) == 1


def test_a_lease_is_left_alone(driver: Driver) -> None:
    """Whoever is fetching the output right now can still write what came of it."""
    job = add(driver)
    driver.clock.advance(13 * HOUR)
    held = driver.hold(LaneName.ARCHIVE, job.id)
    assert driver.jobs.tell_at_risk(limit=10) == (job.id,)
    driver.apply(held, ArchiveStep((OutputStored(held.outputs[0].id, make_file()),)))
    assert driver.events(job.id)[-2:] == ["output_at_risk", "archived"]


def test_what_is_archived_is_not_at_risk(driver: Driver) -> None:
    """Nothing is left in the index of what is still to be told."""
    job = add(driver)
    held = driver.hold(LaneName.ARCHIVE, job.id)
    assert driver.row(OUTPUTS, held.outputs[0].id)["at_risk_at"] is not None
    driver.apply(held, ArchiveStep((OutputStored(held.outputs[0].id, make_file()),)))
    assert driver.row(OUTPUTS, held.outputs[0].id)["at_risk_at"] is None
    driver.clock.advance(30 * HOUR)
    assert driver.jobs.tell_at_risk(limit=10) == ()


def test_the_same_link_again_keeps_its_time_and_a_fresh_one_has_its_own(driver: Driver) -> None:
    """Asking again must not put the alarm off; a link that is new has a whole life before it."""
    job = driver.add_archiving(make_draft(0, url="https://a.example/1", expires_at=START + 24 * HOUR))
    (output,) = driver.get(job.id).outputs
    half = driver.row(OUTPUTS, output.id)["at_risk_at"]
    for url, expected in (("https://a.example/1", half), ("https://a.example/2", START + 21 * HOUR)):
        driver.clock.advance(START + 6 * HOUR - driver.clock.now())
        ask_again(driver, job.id)
        held = driver.hold(LaneName.POLL, job.id)
        driver.apply(held, OutputsReady((make_draft(0, url=url, expires_at=START + 36 * HOUR),)))
        assert driver.row(OUTPUTS, output.id)["at_risk_at"] == expected


def test_the_soonest_to_die_are_told_first_and_none_is_forgotten(driver: Driver) -> None:
    """Also those whose links have died before their turn came: a limit is not an end."""
    jobs = [add(driver, hours) for hours in (30, 10, 20)]
    driver.clock.advance(31 * HOUR)
    order = [driver.jobs.tell_at_risk(limit=1) for _ in range(4)]
    assert order == [(jobs[1].id,), (jobs[2].id,), (jobs[0].id,), ()]


def test_a_job_at_rest_is_not_told(driver: Driver) -> None:
    """It waits for a person, and its own event has said so; tried again in time, it is told."""
    job = add(driver)
    database = driver.database
    rest = {"state": "needs_review", "due_at": None}
    back = {"state": "archiving", "due_at": START}
    database.write(lambda c: c.execute(_set(job.id, rest)))
    driver.clock.advance(13 * HOUR)
    assert driver.jobs.tell_at_risk(limit=10) == ()
    database.write(lambda c: c.execute(_set(job.id, back)))
    assert driver.jobs.tell_at_risk(limit=10) == (job.id,)
    database.write(lambda c: c.execute(_set(job.id, rest)))


def test_the_doctor_agrees_with_the_sweep(driver: Driver) -> None:
    """Both count from when the link was learnt: a fresh one has its whole life, however old its output is."""

    def seen() -> set[str]:
        return {each.code for each in SqlAudit(driver.database).find_violations(max_unknown_per_hour=20)} & DYING

    job = driver.add_archiving(make_draft(0, url="https://a.example/1", expires_at=START + 24 * HOUR))
    driver.clock.advance(11 * HOUR)
    ask_again(driver, job.id)
    held = driver.hold(LaneName.POLL, job.id)
    driver.apply(held, OutputsReady((make_draft(0, url="https://a.example/2", expires_at=START + 31 * HOUR),)))
    driver.clock.advance(9 * HOUR)  # past half of what lies between the output's beginning and its end
    assert (driver.jobs.tell_at_risk(limit=10), seen()) == ((), set())
    driver.clock.advance(2 * HOUR)
    assert seen() == {"output_at_risk"}
    assert driver.jobs.tell_at_risk(limit=10) == (job.id,)
    assert seen() == {"output_at_risk"}  # told, and still so
    driver.clock.advance(10 * HOUR)
    assert seen() == {"output_expired"}


def _set(job_id: str, values: Mapping[str, object]) -> Update:
    return update(JOBS).where(JOBS.c.id == job_id).values(dict(values))


def test_a_fresh_link_in_danger_is_not_told_again(driver: Driver) -> None:
    """Once a job: the first event has called whoever is to look."""
    job = driver.add_archiving(make_draft(0, url="https://a.example/1", expires_at=START + 24 * HOUR))
    driver.clock.advance(13 * HOUR)
    assert driver.jobs.tell_at_risk(limit=10) == (job.id,)
    ask_again(driver, job.id)
    held = driver.hold(LaneName.POLL, job.id)
    driver.apply(held, OutputsReady((make_draft(0, url="https://a.example/2", expires_at=START + 48 * HOUR),)))
    driver.clock.advance(30 * HOUR)
    assert driver.jobs.tell_at_risk(limit=10) == ()
    assert told(driver, job) == 1
