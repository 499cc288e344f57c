"""Leads jobs through their states over the ports, with the real decide(): what tests of the job table begin from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import ColumnElement, RowMapping, Table, select

from orchestrator.db.batches import SqlBatches
from orchestrator.db.engine import Database
from orchestrator.db.history import SqlHistory
from orchestrator.db.jobs import SqlJobs
from orchestrator.domain.decide import Decision, Evidence, decide, settle_late
from orchestrator.domain.decide.late import settle
from orchestrator.domain.job import Batch, Job, NewJob, OutputDraft, Verdict
from orchestrator.domain.outcomes import (
    AccountRefused,
    AnswerComplete,
    ArchiveStep,
    CallEvidence,
    FailedAtSubmit,
    InputUnusable,
    Moment,
    NotSent,
    Outcome,
    OutputsReady,
    OutputStored,
    Rejected,
    SubmitOutcome,
    TaskAccepted,
    ThrottledNow,
    Unknown,
)
from orchestrator.domain.ports import Applied, ClaimedSubmission, EvidenceReport, LaneName
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State
from tests.factories import make_batch, make_draft, make_file, make_new_job, make_window
from tests.fixtures.clock import FakeClock

LEASE = timedelta(seconds=60)
ANSWERED = CallEvidence(Moment.ANSWERED, http_status=200, body='{"id": "..."}')

_VERDICTS: dict[type[object], Verdict] = {
    TaskAccepted: Verdict.ACCEPTED,
    AnswerComplete: Verdict.ANSWERED,
    NotSent: Verdict.NOT_SENT,
    InputUnusable: Verdict.NOT_SENT,
    ThrottledNow: Verdict.THROTTLED,
    AccountRefused: Verdict.REFUSED,
    Rejected: Verdict.REJECTED,
    FailedAtSubmit: Verdict.FAILED,
    Unknown: Verdict.UNKNOWN,
}


class Driver:
    """The ports of one database and short ways to use them."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database = database
        self.clock = clock
        self.rules = Rules(content_codes=frozenset({"1301"}))
        self.rng = Random(7)
        self.jobs = SqlJobs(database)
        self.batches = SqlBatches(database)
        self.history = SqlHistory(database)

    def add(self, *jobs: NewJob, batch: Batch | None = None) -> Batch:
        """Insert jobs as one batch whose intake is done."""
        batch = batch or make_batch()
        self.batches.create(batch)
        numbered = [replace(job, line_number=line) for line, job in enumerate(jobs, start=1)]
        self.batches.add_jobs(batch.id, numbered, actor="local")
        self.batches.finish_intake(batch.id)
        return batch

    def add_many(self, count: int, **changes: object) -> list[str]:
        """Insert `count` like jobs as one batch; return their ids in input order."""
        jobs = [make_new_job(**changes) for _ in range(count)]
        self.add(*jobs)
        return [job.id for job in jobs]

    def claim(self, **changes: object) -> tuple[ClaimedSubmission, ...]:
        """Take what a submit claim takes."""
        return self.jobs.claim_submissions(make_window(**changes)).rows

    def claim_one(self, **changes: object) -> ClaimedSubmission:
        """Take the one job that a submit claim takes."""
        (row,) = self.claim(**changes)
        return row

    def report(
        self, row: ClaimedSubmission, outcome: SubmitOutcome, evidence: CallEvidence = ANSWERED, **changes: object
    ) -> Applied:
        """Apply a submit outcome as the lane holding the lease does."""
        token = changes.get("token", row.job.lease_token)
        assert token is None or isinstance(token, str)
        return self._apply(row.submission.id, outcome, evidence, token, settle)

    def make_report(
        self, row: ClaimedSubmission, outcome: SubmitOutcome, *, token: str | None, rng: Random | None = None
    ) -> EvidenceReport:
        """Return what the lane holding the lease hands over."""
        about = Evidence(row.submission.id, outcome)
        rule = settle if token is not None else settle_late
        return EvidenceReport(
            row.submission.id,
            ANSWERED,
            outcome,
            _VERDICTS[type(outcome)],
            token,
            lambda job, now: rule(job, about, self.rules, now, rng or self.rng),
        )

    def report_late(
        self, submission_id: str, outcome: SubmitOutcome, evidence: CallEvidence = ANSWERED, actor: str = "system"
    ) -> Applied:
        """Apply a submit outcome as late evidence."""
        return self._apply(submission_id, outcome, evidence, None, settle_late, actor)

    def _apply(
        self,
        submission_id: str,
        outcome: SubmitOutcome,
        evidence: CallEvidence,
        token: str | None,
        rule: Callable[[Job, Evidence, Rules, datetime, Random], Decision | None],
        actor: str = "system",
    ) -> Applied:
        about = Evidence(submission_id, outcome)
        return self.jobs.apply_evidence(
            submission_id,
            evidence,
            outcome,
            _VERDICTS[type(outcome)],
            token=token,
            settle=lambda job, now: rule(job, about, self.rules, now, self.rng),
            actor=actor,
        )

    def add_processing(self, task_id: str = "task-1", **changes: object) -> Job:
        """Insert a job and lead it to `processing`."""
        (job_id,) = self.add_many(1, **changes)
        row = next(row for row in self.claim(slots={"*": 1000}) if row.job.id == job_id)
        self.report(row, TaskAccepted(task_id))
        return self.get(job_id)

    def add_archiving(self, *drafts: OutputDraft, task_id: str = "task-1", **changes: object) -> Job:
        """Insert a job and lead it to `archiving`, its outputs announced."""
        job = self.add_processing(task_id, **changes)
        self.finish_poll(job.id, OutputsReady(drafts or (make_draft(),)))
        return self.get(job.id)

    def add_succeeded(self, task_id: str = "task-1", **changes: object) -> Job:
        """Insert a job and lead it to the good end."""
        job = self.add_archiving(task_id=task_id, **changes)
        held = self.hold(LaneName.ARCHIVE, job.id)
        self.apply(held, ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs)))
        return self.get(job.id)

    def add_held(self, **changes: object) -> Job:
        """Insert a job and lead it to `needs_review` by an unknown."""
        (job_id,) = self.add_many(1, **changes)
        row = next(row for row in self.claim(slots={"*": 1000}) if row.job.id == job_id)
        self.report(row, Unknown("read_timeout", "no answer"))
        return self.get(job_id)

    def finish_poll(self, job_id: str, outcome: Outcome) -> Applied:
        """Let the job come due, lease it and apply the outcome of its poll."""
        return self.apply(self.hold(LaneName.POLL, job_id), outcome)

    def hold(self, lane: LaneName, job_id: str) -> Job:
        """Let the job come due and lease it; other rows leased on the way are given back."""
        due = self.get(job_id).due_at
        assert due is not None
        self.clock.advance(max(due - self.clock.now(), timedelta(0)))
        rows = {job.id: job for job in self.jobs.claim_due(lane, limit=1000, lease=LEASE).rows}
        self.jobs.release({job.id: job.lease_token or "" for job in rows.values() if job.id != job_id})
        return rows[job_id]

    def apply(self, job: Job, outcome: Outcome) -> Applied:
        """Decide and write as the lane holding the lease does."""
        (applied,) = self.jobs.apply([(job, self.decide(job, outcome))])
        return applied

    def decide(self, job: Job, outcome: Outcome) -> Decision:
        """Decide as the lanes do."""
        return decide(job, outcome, self.rules, self.clock.now(), self.rng)

    def get(self, job_id: str) -> Job:
        """Return the job as it stands."""
        return self.history.get_job(job_id)

    def state(self, job_id: str) -> State:
        """Return where the job stands."""
        return self.get(job_id).state

    def events(self, job_id: str) -> list[str]:
        """Return the types of the job's events in order."""
        return [event.type for event in self.history.list_events(job_id)]

    def rows(self, table: Table, *conditions: ColumnElement[bool]) -> Sequence[RowMapping]:
        """Return rows of a table as they are stored."""
        query = select(table).where(*conditions)
        return self.database.read(lambda connection: connection.execute(query).mappings().all())

    def row(self, table: Table, row_id: str) -> RowMapping:
        """Return one row of a table by id."""
        (row,) = self.rows(table, table.c.id == row_id)
        return row
