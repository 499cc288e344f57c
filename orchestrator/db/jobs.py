"""The Jobs port: each method one short transaction, put together from this package's parts."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import ColumnElement, Connection, literal_column, select, update

from orchestrator.db import (
    at_risk,
    attaching,
    endpoint_rows,
    held_polls,
    lane_claims,
    next_due,
    persons,
    settling,
    submit_claim,
    sweeps,
    waiting,
)
from orchestrator.db.applying import apply_decisions, part_by_job
from orchestrator.db.engine import Database
from orchestrator.db.low_water import LowWater
from orchestrator.db.outage import OutageWatch
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, read_job, read_submission
from orchestrator.domain.decide import Decision
from orchestrator.domain.errors import NotFound, Permanent
from orchestrator.domain.job import Claim, Job, Submission, Verdict
from orchestrator.domain.outcomes import CallEvidence, SubmitOutcome
from orchestrator.domain.poison import NOTHING_IN_FLIGHT, InFlight
from orchestrator.domain.ports import (
    Adopted,
    Adoption,
    Applied,
    Attachment,
    ClaimedSubmission,
    EvidenceReport,
    HeldPoll,
    HeldUnknown,
    LaneName,
    Renewed,
    SubmitWindow,
)

log = logging.getLogger(__name__)


class SqlJobs:
    """The job table in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, rng: Random | None = None) -> None:
        self._database = database if rng is None else replace(database, rng=rng)
        self._outages = OutageWatch(database.clock)
        self._low_water = LowWater(database.clock)

    def claim_submissions(self, window: SubmitWindow) -> Claim[ClaimedSubmission]:
        """Take queued jobs with free slots; the commit is the intent."""
        database = self._database
        boottime = database.clock.boottime()
        rows, now = database.write(lambda c: submit_claim.claim_submissions(c, window, database=database))
        return Claim(rows, now, boottime, submit_claim.longest_lease(window))

    def claim_due(
        self,
        lane: LaneName,
        *,
        limit: int,
        lease: timedelta,
        archive_class: str | None = None,
        process: str = "",
        in_flight: InFlight = NOTHING_IN_FLIGHT,
    ) -> Claim[Job]:
        """Lease due rows of the poll or archive lane, as far as they may be performed beside what is in flight."""
        database = self._database
        boottime = database.clock.boottime()

        terms = lane_claims.LeaseTerms(lease, process, in_flight, self._outages.find())

        def claim_archives(connection: Connection) -> tuple[tuple[Job, ...], datetime, bool]:
            rows, now = lane_claims.claim_archives(
                connection, archive_class, limit=limit, lease=terms, database=database
            )
            is_idle = bool(rows) or in_flight.count == 0
            return rows, now, not is_idle and lane_claims.is_archive_due(connection, archive_class, now)

        with self._outages.watching():
            match lane:
                case LaneName.POLL:
                    polls = self._claim_polls(limit, terms)
                    return Claim(polls.rows, polls.now, boottime, lease, probe_ids=polls.probe_ids)
                case LaneName.ARCHIVE:
                    rows, now, is_kept_waiting = database.write(claim_archives)
                    return Claim(rows, now, boottime, lease, is_kept_waiting=is_kept_waiting)
                case _:
                    raise ValueError(f"the {lane} lane does not claim leases")

    def _claim_polls(self, limit: int, terms: lane_claims.LeaseTerms) -> lane_claims.PollClaim:
        """Claim, and remember what was looked through once that is committed."""
        database, low_water = self._database, self._low_water
        claimed = database.write(
            lambda c: lane_claims.claim_polls(c, limit=limit, lease=terms, low_water=low_water, database=database)
        )
        if claimed.look is not None:
            low_water.note_claim(claimed.look)
        return claimed

    def find_next_due(
        self, lane: LaneName, *, batch_id: str | None = None, window: SubmitWindow | None = None
    ) -> datetime | None:
        """Return the earliest due_at of the submit, poll or archive lane."""
        database = self._database

        def work(connection: Connection) -> datetime | None:
            match lane:
                case LaneName.SUBMIT:
                    credential = window.credential if window else "default"
                    now = database.now(connection)
                    return next_due.find_next_submit(
                        connection, credential=credential, batch_id=batch_id, window=window, now=now
                    )
                case LaneName.POLL:
                    now = database.now(connection)
                    return next_due.find_next_poll(connection, low_water=self._low_water, now=now)
                case LaneName.ARCHIVE:
                    return next_due.find_next_archive(connection)
                case _:
                    raise ValueError(f"the {lane} lane has no due_at")

        return database.read(work)

    def renew(self, held: Mapping[str, str], *, lease: timedelta) -> frozenset[str]:
        """Extend leases; return the job ids that are still ours."""
        database = self._database
        if not held:
            return frozenset()
        with self._outages.watching():
            return database.write(lambda c: lane_claims.renew(c, held, database.now(c) + lease))

    def renew_polls(self, held: Sequence[HeldPoll], *, lease: timedelta) -> Renewed:
        """Extend the leases of held polls; rows of a paused scope are given back."""
        database = self._database
        with self._outages.watching():
            return database.write(lambda c: held_polls.renew_polls(c, held, lease=lease, database=database))

    def release(self, held: Mapping[str, str]) -> None:
        """Give rows back, due now."""
        database = self._database
        if held:
            database.write(lambda c: lane_claims.release(c, held, database.now(c)))

    def release_dead(self, process: str) -> int:
        """Give back what a dead process of the poll, archive and deliver lanes holds, due now."""
        database = self._database

        def work(connection: Connection) -> int:
            now = database.now(connection)
            jobs = lane_claims.release_dead(connection, process, now)
            return jobs + endpoint_rows.release_dead(connection, process, now)

        return database.write(work)

    def apply(self, decisions: Sequence[tuple[Job, Decision]]) -> Sequence[Applied]:
        """Write decisions guarded by id, state and lease_token: one transaction, and one more for a job's second."""
        return [applied for group in part_by_job(decisions) for applied in self._apply_group(group)]

    def _apply_group(self, decisions: Sequence[tuple[Job, Decision]]) -> Sequence[Applied]:
        database = self._database
        return database.write(lambda c: apply_decisions(c, decisions, database=database))

    def apply_evidence(
        self,
        submission_id: str,
        evidence: CallEvidence,
        outcome: SubmitOutcome,
        verdict: Verdict,
        *,
        token: str | None,
        settle: Callable[[Job, datetime], Decision | None],
        actor: str = "system",
        reason: str = "",
    ) -> Applied:
        """Store evidence on its submission, then move the job by `settle`. Raises NotFound."""
        report = EvidenceReport(submission_id, evidence, outcome, verdict, token, settle, actor, reason)
        (applied,) = self._apply_together([report])
        return applied

    def apply_reports(self, reports: Sequence[EvidenceReport]) -> Sequence[Applied]:
        """Store and settle reports in one transaction, or one by one when one transaction cannot take them.

        A report that cannot be taken at all is raised once the others are in.
        """
        try:
            return self._apply_together(reports)
        except (Permanent, NotFound) as error:
            if len(reports) == 1:
                raise
            log.warning("reports_taken_apart", extra={"report_count": len(reports), "error": str(error)})
        return self._apply_apart(reports)

    def _apply_apart(self, reports: Sequence[EvidenceReport]) -> list[Applied]:
        applied: list[Applied] = []
        refused: list[Permanent | NotFound] = []
        for report in reports:
            try:
                applied += self._apply_together([report])
            except (Permanent, NotFound) as error:
                refused.append(error)
        if refused:
            raise refused[0]
        return applied

    def _apply_together(self, reports: Sequence[EvidenceReport]) -> list[Applied]:
        database = self._database
        return database.write(lambda c: settling.apply_reports(c, reports, database=database))

    def find_lapsed_submissions(self, *, limit: int) -> Sequence[ClaimedSubmission]:
        """Return jobs in submitting whose lease has passed."""
        database = self._database
        return database.read(lambda c: _find_submitting(c, JOBS.c.due_at <= database.now(c), limit=limit))

    def find_submissions_of(self, process: str) -> Sequence[ClaimedSubmission]:
        """Return jobs in submitting whose newest submission was made by this process."""
        mine = (SUBMISSIONS.c.process == process) & SUBMISSIONS.c.verdict.is_(None)
        return self._database.read(lambda c: _find_submitting(c, mine))

    def transact(
        self, job_id: str, change: Callable[[Job, datetime], Decision | None], *, actor: str, reason: str
    ) -> Applied:
        """Move one job by a person's decision. Raises NotFound; Conflicts raised by `change` come out."""
        database = self._database
        return database.write(
            lambda c: persons.transact(c, job_id, change, actor=actor, reason=reason, database=database)
        )

    def attach_task(
        self,
        attachment: Attachment,
        *,
        choose: Callable[[Job], Submission | None],
        settle: Callable[[str], attaching.Settle],
    ) -> Applied:
        """Store a task id that a person named, and move the job by it. Raises NotFound, Conflict."""
        database = self._database
        return database.write(lambda c: attaching.attach_task(c, attachment, choose, settle, database=database))

    def adopt(self, adoption: Adoption) -> Adopted:
        """Insert a job for a task submitted elsewhere, once."""
        return persons.adopt_once(adoption, database=self._database)

    def list_held_unknown(self, *, after: str, limit: int) -> Sequence[str]:
        """Return ids of jobs that an unexplained call holds."""
        return self._database.read(lambda c: persons.list_held_unknown(c, after=after, limit=limit))

    def resubmit_held(
        self, job_id: str, change: Callable[[HeldUnknown, datetime], Decision | None], *, actor: str, reason: str
    ) -> Applied:
        """As `transact`, knowing how often this actor has resubmitted the job."""
        database = self._database

        def work(connection: Connection) -> Applied:
            def counted(job: Job, now: datetime) -> Decision | None:
                return change(HeldUnknown(job, persons.count_resubmissions(connection, job_id, actor)), now)

            return persons.transact(connection, job_id, counted, actor=actor, reason=reason, database=database)

        return database.write(work)

    def flag_cancel(self, job_id: str, *, actor: str, reason: str) -> bool:
        """Set cancel_requested_at on a submitting or processing job, once; its holder's lease stays good."""
        database = self._database
        flag = functools.partial(persons.flag_cancels, actor=actor, reason=reason, database=database)
        return bool(database.write(lambda c: flag(c, [job_id], now=database.now(c))))

    def load_parents(self, job_id: str) -> Mapping[str, Job]:
        """Return the jobs that one depends on, by name, with their outputs."""
        return self._database.read(lambda c: waiting.load_parents(c, job_id))

    def settle_stragglers(self, *, limit: int) -> int:
        """Settle jobs that wait although nothing keeps them."""
        return waiting.settle_stragglers(limit=limit, database=self._database)

    def tell_at_risk(self, *, limit: int) -> Sequence[str]:
        """Tell of jobs whose outputs are not archived after half of their links' lives, once each."""
        database = self._database
        return database.write(lambda c: at_risk.tell_at_risk(c, limit=limit, database=database))

    def remember_upload(self, output_id: str, upload_id: str) -> None:
        """Keep a multipart upload's id."""
        remember = update(OUTPUTS).where(OUTPUTS.c.id == output_id, OUTPUTS.c.archived_at.is_(None))
        self._database.write(lambda c: c.execute(remember.values(upload_id=upload_id)))

    def find_due_sweeps(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of these maintenance tasks are due, in their order."""
        database = self._database
        return database.read(lambda c: sweeps.find_due(c, names, now=database.now(c)))

    def claim_sweep(self, name: str, *, every: timedelta, lease: timedelta) -> str | None:
        """Lease one maintenance task when it is due."""
        database = self._database
        return database.write(lambda c: sweeps.claim(c, name, lease=lease, database=database))

    def finish_sweep(self, name: str, token: str, *, every: timedelta, result: str) -> None:
        """Record the run and make it due again."""
        database = self._database
        database.write(lambda c: sweeps.finish(c, name, token, every=every, result=result, now=database.now(c)))


def _find_submitting(
    connection: Connection, condition: ColumnElement[bool], *, limit: int | None = None
) -> tuple[ClaimedSubmission, ...]:
    query = (
        select(JOBS, *(column.label(f"s_{column.name}") for column in SUBMISSIONS.c))
        .join(SUBMISSIONS, (SUBMISSIONS.c.job_id == JOBS.c.id) & (SUBMISSIONS.c.number == JOBS.c.submission_count))
        .where(JOBS.c.state == literal_column("'submitting'"), condition)
        .order_by(JOBS.c.due_at, JOBS.c.id)
        .limit(limit)
    )
    return tuple(
        ClaimedSubmission(read_job(row), read_submission(row, prefix="s_"))
        for row in connection.execute(query).mappings()
    )
