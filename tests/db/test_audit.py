"""Every rule over the job table: broken on purpose it is found, with its subject; whole, nothing is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, Table, delete, insert, inspect, text, update

from orchestrator.db.audit import SqlAudit, spans
from orchestrator.db.audit.batches import BATCHES
from orchestrator.db.dependencies import DEPENDENCIES
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS
from orchestrator.db.pauses import CREDENTIALS, MODEL_LIMITS
from orchestrator.db.progress import MEMBERS
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS
from orchestrator.domain.audit import RULES, Violation, render
from orchestrator.domain.outcomes import ArchiveStep, OutputsReady, OutputStored, Rejected, TaskAccepted, ThrottledNow
from orchestrator.domain.ports import LaneName
from orchestrator.domain.ports.audit import Audit
from orchestrator.domain.states import State
from tests.db.driver import Driver
from tests.factories import HOUR, make_draft, make_file, make_new_job
from tests.fixtures.clock import FakeClock

LONG_AGO = timedelta(days=3)
UNKNOWN_LIMIT = 3
LANE = LaneName.POLL


def find(driver: Driver) -> list[Violation]:
    return list(SqlAudit(driver.database).find_violations(max_unknown_per_hour=UNKNOWN_LIMIT))


def codes(driver: Driver) -> set[str]:
    return {violation.code for violation in find(driver)}


class Breaker(Driver):
    """A driver that writes what no guarded write would."""

    def put(self, table: Table, row_id: str, **values: object) -> None:
        """Change a row behind the back of every CHECK."""
        column = next(iter(table.primary_key.columns))
        with self.database.begin_write() as connection:
            if self.database.is_sqlite:
                connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
            connection.execute(update(table).where(column == row_id).values(**values))
            if self.database.is_sqlite:
                connection.exec_driver_sql("PRAGMA ignore_check_constraints=OFF")

    def submission_of(self, job_id: str) -> str:
        return self.history.list_submissions(job_id)[0].submission.id

    def copy_submission(self, job_id: str, **values: object) -> str:
        """Add one more submission to a job, like its first."""
        row = dict(self.row(SUBMISSIONS, self.submission_of(job_id)))
        row |= {"id": f"sub_copy_{job_id}", "number": 2, "task_id": None, **values}
        with self.database.begin_write() as connection:
            connection.execute(insert(SUBMISSIONS).values(row))
        return str(row["id"])


@pytest.fixture
def breaker(
    database_url_factory: Callable[..., str], clock: FakeClock, move_engine: Callable[[str], Engine]
) -> Iterator[Breaker]:
    """Give a fresh database without its CHECKs and its unique index of tasks."""
    database = Database(move_engine(database_url_factory()), clock)
    loosen(database)
    yield Breaker(database, clock)
    database.close()


def loosen(database: Database) -> None:
    with database.begin_write() as connection:
        connection.execute(text("DROP INDEX uq_submissions_task_id"))
        if not database.is_sqlite:
            for table in ("jobs", "submissions", "outputs", "batches"):
                for check in inspect(connection).get_check_constraints(table):
                    connection.execute(text(f'ALTER TABLE {table} DROP CONSTRAINT "{check["name"]}"'))


def make_every_state(driver: Driver) -> None:
    """Jobs in every state, as the lanes leave them, with a pause and an adopted look-alike of nothing."""
    driver.add_many(1)
    driver.add_held()
    driver.add_succeeded("task-s")
    driver.add_archiving(task_id="task-a")
    driver.add_processing("task-p")
    (refused,) = driver.add_many(1, model="other-model")
    row = next(row for row in driver.claim(slots={"other-model": 1, "*": 0}) if row.job.id == refused)
    driver.report(row, Rejected("1214", "bad size"))
    (throttled,) = driver.add_many(1, model="third-model")
    row = next(row for row in driver.claim(slots={"third-model": 1, "*": 0}) if row.job.id == throttled)
    driver.report(row, ThrottledNow("1302", "too many"))
    (sending,) = driver.add_many(1, model="fourth-model")
    assert [row.job.id for row in driver.claim(slots={"fourth-model": 1, "*": 0})] == [sending]


def test_jobs_in_every_state_break_nothing(driver: Driver) -> None:
    """What the lanes write keeps every rule; a held job alone is told of."""
    make_every_state(driver)
    assert codes(driver) == {"needs_review"}


def test_the_audit_is_the_port(driver: Driver) -> None:
    """The type checker holds the adapter to the port."""
    audit: Audit = SqlAudit(driver.database)
    assert audit.find_oldest_job() is None


def break_final(d: Breaker) -> str:
    job = d.add_succeeded()
    d.put(JOBS, job.id, finished_at=None)
    return job.id


def break_state(d: Breaker) -> str:
    job = d.add_succeeded()
    d.put(JOBS, job.id, state="finished", finished_at=None)
    return job.id


def break_resting(d: Breaker) -> str:
    job = d.add_held()
    d.put(JOBS, job.id, due_at=d.clock.now())
    return job.id


def break_due(d: Breaker) -> str:
    job = d.add_processing()
    d.put(JOBS, job.id, due_at=None)
    return job.id


def break_far(d: Breaker) -> str:
    (job_id,) = d.add_many(1)
    d.put(JOBS, job_id, due_at=d.clock.now() + timedelta(days=4000))
    return job_id


def break_failure_code(d: Breaker) -> str:
    job = d.add_succeeded()
    d.put(JOBS, job.id, failure_code="internal_error")
    return job.id


def break_task(d: Breaker) -> str:
    job = d.add_processing()
    d.put(JOBS, job.id, provider_task_id=None)
    return job.id


def break_own_task(d: Breaker) -> str:
    job = d.add_processing()
    d.put(JOBS, job.id, provider_task_id="task-of-nobody")
    return job.id


def break_history(d: Breaker) -> str:
    job = d.add_succeeded()
    second = EVENTS.c.sequence == 2
    with d.database.begin_write() as connection:
        connection.execute(delete(EVENTS).where(EVENTS.c.job_id == job.id, second))
    return job.id


def break_sequence(d: Breaker) -> str:
    job = d.add_succeeded()
    d.put(JOBS, job.id, sequence=99)
    return job.id


def break_newest_event(d: Breaker) -> str:
    job = d.add_processing()
    d.put(JOBS, job.id, state=State.ARCHIVING)
    return job.id


def break_count(d: Breaker) -> str:
    job = d.add_processing()
    d.put(JOBS, job.id, submission_count=2)
    return job.id


def break_calls(d: Breaker) -> str:
    (job_id,) = d.add_many(1)
    d.claim_one()
    d.copy_submission(job_id)
    return job_id


def break_call_outside(d: Breaker) -> str:
    job = d.add_processing()
    d.copy_submission(job.id, verdict=None, verdict_at=None)
    return job.id


def break_unknown(d: Breaker) -> str:
    """The one that would pay twice: queued again although nobody knows."""
    job = d.add_held()
    d.put(JOBS, job.id, state=State.QUEUED, due_at=d.clock.now())
    return job.id


def break_paid(d: Breaker) -> str:
    job = d.add_processing()
    d.put(JOBS, job.id, state=State.CANCELLED, finished_at=d.clock.now(), due_at=None)
    return job.id


def make_extra(d: Breaker) -> str:
    """Two paid tasks of one job: the ordinary way, by late evidence."""
    job = d.add_held()
    first = d.submission_of(job.id)
    second = d.copy_submission(job.id, verdict=None, verdict_at=None, provider_code=None, message=None)
    d.report_late(first, TaskAccepted("task-1"))
    d.report_late(second, TaskAccepted("task-2"))
    return job.id


def break_outputs(d: Breaker) -> str:
    job = d.add_succeeded()
    with d.database.begin_write() as connection:
        connection.execute(delete(OUTPUTS).where(OUTPUTS.c.job_id == job.id))
    return job.id


def break_archived(d: Breaker) -> str:
    job = d.add_succeeded()
    d.put(OUTPUTS, job.outputs[0].id, archived_at=None)
    return job.id


def break_member(d: Breaker) -> str:
    (job_id,) = d.add_many(1)
    with d.database.begin_write() as connection:
        connection.execute(delete(MEMBERS).where(MEMBERS.c.job_id == job_id))
    return job_id


def let_lapse(d: Breaker) -> str:
    (job_id,) = d.add_many(1)
    d.claim_one()
    d.clock.advance(HOUR)
    return job_id


def forget_child(d: Breaker) -> str:
    parent, child = make_new_job(custom_id="p"), make_new_job(custom_id="c", depends_on=("p",))
    d.add(parent, child)
    with d.database.begin_write() as connection:
        ended = {"state": "cancelled", "due_at": None, "finished_at": d.clock.now()}
        connection.execute(update(JOBS).where(JOBS.c.id == parent.id).values(ended))
    return child.id


def forget_parent(d: Breaker) -> str:
    parent, child = make_new_job(custom_id="p"), make_new_job(custom_id="c", depends_on=("p",))
    d.add(parent, child)
    with d.database.begin_write() as connection:
        connection.execute(update(DEPENDENCIES).values(parent_id=None))
    return child.id


def let_wait(d: Breaker) -> str:
    job = d.add_processing()
    d.clock.advance(HOUR)
    return job.id


def share_task(d: Breaker) -> str:
    d.add_processing("task-1")
    other = d.add_processing("task-2")
    d.put(SUBMISSIONS, d.submission_of(other.id), task_id="task-1")
    return "task-1"


def break_verdict(d: Breaker) -> str:
    job = d.add_processing()
    submission = d.submission_of(job.id)
    d.put(SUBMISSIONS, submission, verdict_at=None)
    return submission


def make_unknowns(d: Breaker) -> str:
    for _ in range(UNKNOWN_LIMIT):
        d.add_held()
    return "default"


def break_key(d: Breaker) -> str:
    job = d.add_succeeded()
    d.put(OUTPUTS, job.outputs[0].id, sha256="short")
    return job.outputs[0].id


def break_link(d: Breaker) -> str:
    job = d.add_succeeded()
    d.put(OUTPUTS, job.outputs[0].id, source_url="https://cdn.example/0.mp4")
    return job.outputs[0].id


def age_link(d: Breaker) -> str:
    job = d.add_archiving()
    d.clock.advance(HOUR * 0.6)
    return job.outputs[0].id


def let_link_die(d: Breaker) -> str:
    job = d.add_archiving()
    d.clock.advance(HOUR * 2)
    return job.outputs[0].id


def leave_batch_open(d: Breaker) -> str:
    job = d.add_succeeded()
    d.clock.advance(HOUR)
    return job.batch_id or ""


def close_batch_early(d: Breaker) -> str:
    job = d.add_processing()
    d.put(BATCHES, job.batch_id or "", finished_at=d.clock.now())
    return job.batch_id or ""


def leave_intake(d: Breaker) -> str:
    (job_id,) = d.add_many(1)
    batch = d.get(job_id).batch_id or ""
    d.put(BATCHES, batch, intake_done_at=None, created_at=d.clock.now() - HOUR * 2)
    return batch


def miscount_lines(d: Breaker) -> str:
    (job_id,) = d.add_many(1)
    batch = d.get(job_id).batch_id or ""
    d.put(BATCHES, batch, line_count=2)
    return batch


def kill_submit_probe(d: Breaker) -> str:
    """The probe's submission has its verdict, and the pause never heard of it."""
    job = d.add_processing()
    with d.database.begin_write() as connection:
        connection.execute(
            update(CREDENTIALS).values(
                submit_paused_until=d.clock.now() - HOUR, submit_probe_id=d.submission_of(job.id)
            )
        )
    return "default"


def kill_poll_probe(d: Breaker) -> str:
    job = d.add_processing()
    with d.database.begin_write() as connection:
        dead = {"poll_paused_until": d.clock.now() - HOUR, "poll_probe_id": job.id}
        connection.execute(update(MODEL_LIMITS).values(dead))
    return f"default {job.model}"


def stop_sweeps(d: Breaker) -> str:
    d.add_processing()
    d.clock.advance(HOUR)
    return "sweeps"


def fail_sweep(d: Breaker) -> str:
    token = d.jobs.claim_sweep("spool:here", every=HOUR, lease=HOUR)
    d.jobs.finish_sweep("spool:here", token or "", every=HOUR, result="failed: store_denied: no")
    return "spool:here"


BREAKS: tuple[tuple[str, Callable[[Breaker], str]], ...] = (
    ("state_unknown", break_state),
    ("final_unfinished", break_final),
    ("resting_is_due", break_resting),
    ("active_not_due", break_due),
    ("queued_never_due", break_far),
    ("failed_without_code", break_failure_code),
    ("processing_without_task", break_task),
    ("task_of_no_submission", break_own_task),
    ("history_gap", break_history),
    ("history_gap", break_sequence),
    ("history_disagrees", break_newest_event),
    ("submission_count_wrong", break_count),
    ("calls_at_once", break_calls),
    ("call_outside_submitting", break_call_outside),
    ("unknown_not_held", break_unknown),
    ("paid_and_idle", break_paid),
    ("extra_paid_task", make_extra),
    ("succeeded_without_output", break_outputs),
    ("succeeded_unarchived", break_archived),
    ("member_missing", break_member),
    ("submitting_lapsed", let_lapse),
    ("work_waits", let_wait),
    ("waits_for_nothing", forget_child),
    ("parent_unknown", forget_parent),
    ("task_id_twice", share_task),
    ("verdict_incomplete", break_verdict),
    ("too_many_unknowns", make_unknowns),
    ("output_incomplete", break_key),
    ("output_keeps_link", break_link),
    ("output_at_risk", age_link),
    ("output_expired", let_link_die),
    ("batch_not_closed", leave_batch_open),
    ("batch_closed_early", close_batch_early),
    ("batch_intake_open", leave_intake),
    ("batch_lines_missing", miscount_lines),
    ("probe_dead", kill_submit_probe),
    ("probe_dead", kill_poll_probe),
    ("sweeps_stopped", stop_sweeps),
    ("sweep_failing", fail_sweep),
)


@pytest.mark.parametrize(("code", "damage"), BREAKS, ids=[damage.__name__ for _, damage in BREAKS])
def test_a_broken_rule_is_found(breaker: Breaker, code: str, damage: Callable[[Breaker], str]) -> None:
    """By its code, about the right row, in words and with what mends it."""
    subject = damage(breaker)
    found = [violation for violation in find(breaker) if violation.code == code]
    assert [violation.subject for violation in found] == [subject]
    finding = render(found[0])
    assert subject in finding.words or code == "sweeps_stopped"
    assert finding.mend
    assert "{" not in finding.words + finding.mend


def test_a_job_just_recorded_is_no_finding(driver: Driver) -> None:
    """Nobody sweeps before the first run: that is how a laptop looks every day."""
    driver.add_many(1)
    assert codes(driver) == set()


def test_a_file_of_yesterday_is_no_finding(driver: Driver) -> None:
    """All is done and no process is left: old sweeps hurt nobody."""
    driver.add_succeeded()
    driver.batches.finish_done()
    driver.clock.advance(LONG_AGO)
    assert codes(driver) == set()


def test_a_batch_that_has_just_ended_waits_for_its_sweep(driver: Driver) -> None:
    """Closing it takes a sweep; one that is on its way is no finding."""
    job = driver.add_processing()
    driver.clock.advance(HOUR)
    driver.apply(driver.hold(LANE, job.id), OutputsReady((make_draft(expires_at=None),)))
    held = driver.hold(LaneName.ARCHIVE, job.id)
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs)))
    assert driver.state(job.id) is State.SUCCEEDED
    assert codes(driver) == set()
    driver.clock.advance(HOUR)
    assert codes(driver) == {"batch_not_closed"}


@pytest.mark.parametrize("table", [CREDENTIALS, MODEL_LIMITS], ids=["credential", "model"])
def test_a_paused_job_waits_rightly(driver: Driver, table: Table) -> None:
    """Polling is paused: it stays due, and somebody will take it."""
    job = driver.add_processing()
    driver.jobs.claim_sweep("finished_batches", every=HOUR, lease=HOUR)
    driver.clock.advance(HOUR)
    assert "work_waits" in codes(driver)
    with driver.database.begin_write() as connection:
        connection.execute(update(table).values(poll_paused_until=driver.clock.now() + HOUR))
    assert "work_waits" not in codes(driver)
    assert driver.state(job.id) is State.PROCESSING


def test_needs_review_is_counted(driver: Driver) -> None:
    """One finding however many wait."""
    driver.add_held()
    driver.add_held()
    (found,) = [violation for violation in find(driver) if violation.code == "needs_review"]
    assert (found.subject, render(found).mend) == ("2 jobs", "orchestrator jobs review")


def test_a_written_off_unknown_may_rest(driver: Driver) -> None:
    """A person has decided; the call stays unknown for ever."""
    job = driver.add_held()
    breaker = Breaker(driver.database, driver.clock)
    now = driver.clock.now()
    breaker.put(JOBS, job.id, state=State.FAILED, failure_code="written_off", finished_at=now)
    assert "unknown_not_held" not in codes(driver)


def test_a_table_longer_than_a_span_is_read_whole(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans neither overlap nor leave a row out, whatever their length comes to."""
    monkeypatch.setattr(spans, "SPAN_ROWS", 2)
    breaker = Breaker(driver.database, driver.clock)
    jobs = [driver.add_processing(f"task-{number}") for number in range(4)]
    for job in jobs:
        breaker.put(JOBS, job.id, submission_count=7)
    found = [violation.subject for violation in find(driver) if violation.code == "submission_count_wrong"]
    assert found == [job.id for job in jobs]


def test_leases_of_a_process(driver: Driver) -> None:
    """What it polls and what it is sending, and nobody else's."""
    driver.add_processing()
    driver.clock.advance(HOUR)
    assert driver.jobs.claim_due(LANE, limit=1, lease=HOUR, process="host-1").rows
    driver.add_many(1)
    driver.claim_one(process="host-1", slots={"*": 9})
    audit = SqlAudit(driver.database)
    assert (audit.count_leases("host-1"), audit.count_leases("host-2"), audit.count_leases("host")) == (2, 0, 0)


def test_every_rule_of_the_table_is_broken_somewhere() -> None:
    """A rule that is added here is broken here; the others are of services/doctor and of webhooks, and broken in their
    tests.
    """
    elsewhere = ("journal", "lease_of", "spool", "disk", "clock", "object", "manifest", "folder", "archive", "charge",
                 "task_differs", "task_unknown", "unknown_was", "unknown_answer", "unknown_not_charged", "ledger", "schema", "database",
                 "broker", "event_unaddressed", "deliveries")  # fmt: skip
    mine = {code for code in RULES if not code.startswith(elsewhere)}
    assert mine == {code for code, _ in BREAKS} | {"needs_review"}
