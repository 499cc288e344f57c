"""Answers that arrive together are settled in one transaction, and it leads to what one by one leads to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import Table, event, select

from orchestrator.db.events import EVENTS
from orchestrator.db.evidence import Given, store_all
from orchestrator.db.pauses import CREDENTIALS, MODEL_LIMITS
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS
from orchestrator.db.settling import apply_reports
from orchestrator.domain.decide import Decision, JobPatch
from orchestrator.domain.errors import NotFound, Permanent
from orchestrator.domain.job import Verdict
from orchestrator.domain.outcomes import (
    AccountRefused,
    AnswerComplete,
    FailedAtSubmit,
    InputUnusable,
    NotSent,
    Rejected,
    SubmitOutcome,
    TaskAccepted,
    ThrottledNow,
    Unknown,
)
from orchestrator.domain.ports import ClaimedSubmission, EvidenceReport
from orchestrator.domain.states import State, Trigger
from tests.db.driver import ANSWERED, Driver
from tests.db.test_evidence import resubmit
from tests.factories import HOUR, make_draft, make_id, make_new_job

THROTTLED = ThrottledNow("1302", "slowly", retry_after=timedelta(seconds=40))
ACCOUNT = AccountRefused("1113", "arrears")


@dataclass(frozen=True)
class Situation:
    """How a job stands when its answer comes, and what the answer says. `{n}` in a task id is the job's number."""

    outcome: SubmitOutcome
    is_cancelling: bool = False
    is_stale: bool = False
    is_late: bool = False
    is_probe: bool = False
    earlier: SubmitOutcome | None = None
    """Late evidence about an earlier try, stored while this one is in flight."""


SITUATIONS = {
    "taken": Situation(TaskAccepted("task-{n}")),
    "taken, an id that is held": Situation(TaskAccepted("task-held")),
    "taken, an id that another of the group has": Situation(TaskAccepted("task-both")),
    "taken while cancelling": Situation(TaskAccepted("task-{n}"), is_cancelling=True),
    "taken, replaced": Situation(TaskAccepted("task-{n}"), is_stale=True),
    "taken, found late": Situation(TaskAccepted("task-{n}"), is_late=True),
    "taken as probe": Situation(TaskAccepted("task-{n}"), is_probe=True),
    "taken after an earlier task": Situation(TaskAccepted("task-{n}"), earlier=TaskAccepted("early-{n}")),
    "refused after an earlier task": Situation(NotSent("reset", "no"), earlier=TaskAccepted("early-{n}")),
    "answered whole": Situation(AnswerComplete((make_draft(),))),
    "not sent": Situation(NotSent("connect_timeout", "nothing left")),
    "not sent while cancelling": Situation(NotSent("connect_timeout", "nothing left"), is_cancelling=True),
    "input gone": Situation(InputUnusable("input_missing", "no such file")),
    "throttled": Situation(THROTTLED),
    "throttled for long": Situation(replace(THROTTLED, retry_after=HOUR)),
    "throttled as probe": Situation(THROTTLED, is_probe=True),
    "account": Situation(ACCOUNT),
    "rejected": Situation(Rejected("1214", "bad size")),
    "failed": Situation(FailedAtSubmit("1301", "sensitive")),
    "unknown": Situation(Unknown("read_timeout", "no\0answer")),
    "unknown as probe": Situation(Unknown("read_timeout", "no answer"), is_probe=True),
}


def put(name: str, number: int) -> SubmitOutcome:
    """Return a situation's outcome for the job of this number."""
    return numbered(SITUATIONS[name].outcome, number)


def numbered(outcome: SubmitOutcome, number: int) -> SubmitOutcome:
    return TaskAccepted(outcome.task_id.format(n=number)) if isinstance(outcome, TaskAccepted) else outcome


class Side:
    """The same jobs under a credential of their own, so that both sides can be compared in one database."""

    def __init__(self, driver: Driver, credential: str, names: Sequence[str]) -> None:
        self.driver, self.credential, self.names = driver, credential, names
        self.rng, driver.rng = Random(7), Random(7)
        self.job_ids = [make_id("job") for _ in names]
        driver.add(make_new_job(credential=credential, model="held", body={}, input={}))
        (holder,) = self._claim().values()
        driver.report(holder, TaskAccepted("task-held"))
        for number, name in enumerate(names):
            self._prepare(number, SITUATIONS[name])
        for job_id, name in zip(self.job_ids, names, strict=True):
            if SITUATIONS[name].earlier is not None:
                resubmit(driver, driver.get(job_id))

    def _claim(self) -> dict[str, ClaimedSubmission]:
        return {row.job.id: row for row in self.driver.claim(slots={"*": 99}, credential=self.credential)}

    def _prepare(self, number: int, situation: Situation) -> None:
        """Take the job in; what must have happened to it before its present try happens now."""
        job_id = self.job_ids[number]
        model = f"probed-{number}" if situation.is_probe else "shared"
        changes = {"credential": self.credential, "model": model, "custom_id": None, "line_number": None}
        job = make_new_job(id=job_id, body={"prompt": "x"}, input={}, body_sha256="0" * 64, **changes)
        if situation.earlier is None and not situation.is_probe:
            self.driver.add(replace(job, not_before=self.driver.clock.now() + timedelta(minutes=30)))
            return
        self.driver.add(job)
        first = self._claim()[job_id]
        if situation.is_probe:
            self.driver.report(first, THROTTLED)
            return
        self.driver.report(first, Unknown("read_timeout", "no answer"))

    def make_reports(self) -> list[EvidenceReport]:
        """Claim everything and return what the answers say."""
        rows = self._claim()
        assert set(rows) == set(self.job_ids)
        reports = []
        for number, (job_id, name) in enumerate(zip(self.job_ids, self.names, strict=True)):
            row, situation = rows[job_id], SITUATIONS[name]
            if situation.is_cancelling:
                self.driver.jobs.flag_cancel(job_id, actor="ann", reason="enough")
            if situation.earlier is not None:
                (first, _) = self.driver.get(job_id).submissions
                self.driver.report_late(first.id, numbered(situation.earlier, number))
            token = None if situation.is_late else "stale" if situation.is_stale else row.job.lease_token
            reports.append(self.driver.make_report(row, put(name, number), token=token, rng=self.rng))
        return reports

    def snapshot(self) -> dict[str, object]:
        """Return every row of these jobs and of their pauses, ids replaced by places."""
        mine = JOBS.c.credential == self.credential
        jobs = self.driver.rows(JOBS, mine)
        labels = {str(row["id"]): f"job {self._place(row['id'])}" for row in jobs}
        of_mine = select(JOBS.c.id).where(mine)
        found: dict[str, object] = {}
        tables: list[tuple[Table, Sequence[str]]] = [
            (SUBMISSIONS, ("job_id", "number")),
            (EVENTS, ("job_id", "sequence")),
            (OUTPUTS, ("job_id", "index")),
        ]
        rows = {JOBS.name: [dict(row) for row in jobs]}
        for table, key in tables:
            theirs = self.driver.rows(table, table.c.job_id.in_(of_mine))
            rows[table.name] = [dict(row) for row in theirs]
            labels |= {
                str(r["id"]): " ".join([table.name, *(labels.get(r[k], str(r[k])) for k in key)]) for r in theirs
            }
        rows[CREDENTIALS.name] = [
            dict(row) for row in self.driver.rows(CREDENTIALS, CREDENTIALS.c.name == self.credential)
        ]
        limits = self.driver.rows(MODEL_LIMITS, MODEL_LIMITS.c.credential == self.credential)
        rows[MODEL_LIMITS.name] = [dict(row) for row in limits]
        labels[self.credential] = "credential"
        for name, listed in rows.items():
            found[name] = sorted(self._plain(row, labels) for row in listed)
        return found

    def _place(self, job_id: str) -> int:
        return self.job_ids.index(job_id) if job_id in self.job_ids else -1

    def _plain(self, row: dict[str, object], labels: dict[str, str]) -> str:
        for name in ("batch_id", "fair_key", "lease_token", "body", "body_sha256", "input", "custom_id", "line_number"):
            if name in row:
                row[name] = row[name] is not None
        text = json.dumps(row, default=str, sort_keys=True)
        for key, label in labels.items():
            text = text.replace(json.dumps(key), json.dumps(label))
        return text


def compare(driver: Driver, names: Sequence[str]) -> None:
    """Settle the same answers together and one by one; everything stored and told must be equal."""
    together, apart = Side(driver, "one", names), Side(driver, "two", names)
    driver.clock.advance(2 * HOUR)
    reports, singles = together.make_reports(), apart.make_reports()
    assert together.snapshot() == apart.snapshot()
    told = [replace(applied, job_id="") for applied in driver.jobs.apply_reports(reports)]
    expected = [replace(applied, job_id="") for report in singles for applied in driver.jobs.apply_reports([report])]
    assert told == expected
    assert together.snapshot() == apart.snapshot()


class TestEquality:
    """However answers are grouped, the rows, the history, the pauses and what is reported are the same."""

    def test_plain_answers(self, driver: Driver) -> None:
        compare(driver, ["taken"] * 5)

    def test_the_longest_of_several_pauses_stands(self, driver: Driver) -> None:
        compare(driver, ["throttled for long", "throttled", "account", "throttled"])

    def test_every_situation_at_once(self, driver: Driver) -> None:
        compare(driver, [*SITUATIONS, "taken, an id that another of the group has", "taken"])

    @pytest.mark.parametrize("seed", range(6))
    def test_mixed_groups(self, driver: Driver, seed: int) -> None:
        compare(driver, Random(seed).choices(sorted(SITUATIONS), k=6))

    def test_the_comparison_sees_a_difference(self, driver: Driver) -> None:
        """What the tests above rest on: one column of one row is enough."""
        one, two = Side(driver, "one", ["taken"]), Side(driver, "two", ["unknown"])
        driver.clock.advance(2 * HOUR)
        for side in (one, two):
            driver.jobs.apply_reports(side.make_reports())
        first, second = one.snapshot(), two.snapshot()
        assert {name for name in first if first[name] != second[name]} == {"jobs", "submissions", "job_events"}


def claim_some(driver: Driver, count: int) -> list[ClaimedSubmission]:
    driver.add_many(count)
    return list(driver.claim(slots={"*": 99}))


def accept(driver: Driver, rows: Sequence[ClaimedSubmission]) -> list[EvidenceReport]:
    return [driver.make_report(row, TaskAccepted(row.job.id), token=row.job.lease_token) for row in rows]


class TestGroups:
    """One report's trouble is its own."""

    def test_they_share_one_transaction(self, driver: Driver) -> None:
        reports = accept(driver, claim_some(driver, 4))
        commits: list[object] = []

        def count(connection: object) -> None:
            commits.append(connection)

        event.listen(driver.database.engine, "commit", count)
        try:
            applied = driver.jobs.apply_reports(reports)
        finally:
            event.remove(driver.database.engine, "commit", count)
        assert [each.decision.target for each in applied if each.decision] == [State.PROCESSING] * 4
        assert len(commits) == 1

    def test_an_unknown_submission_stops_no_other(self, driver: Driver) -> None:
        """A journal of another database names what is not here."""
        rows = claim_some(driver, 3)
        reports = accept(driver, rows)
        reports[1] = replace(reports[1], submission_id="sub_none")
        with pytest.raises(NotFound):
            driver.jobs.apply_reports(reports)
        assert [driver.state(row.job.id) for row in rows] == [State.PROCESSING, State.SUBMITTING, State.PROCESSING]

    def test_a_move_that_the_database_refuses_stops_no_other(self, driver: Driver) -> None:
        """A decision that breaks a rule of the tables is a bug of one job; the others' paid answers are kept."""
        rows = claim_some(driver, 3)
        reports = accept(driver, rows)
        broken = Decision(State.SUBMITTING, Trigger.REJECTED, State.FAILED, None, "", JobPatch())
        reports[1] = replace(reports[1], settle=lambda *_: broken)
        with pytest.raises(Permanent):
            driver.jobs.apply_reports(reports)
        assert [driver.state(row.job.id) for row in rows] == [State.PROCESSING, State.SUBMITTING, State.PROCESSING]

    def test_two_reports_about_one_job_are_settled_one_after_the_other(self, driver: Driver) -> None:
        """The second must see what the first led to, or the job would follow the wrong task."""
        held = driver.add_held()
        resubmit(driver, held)
        row = driver.claim_one(slots={"*": 9})
        first = ClaimedSubmission(held, held.submissions[0])
        reports = [
            driver.make_report(row, TaskAccepted("task-2"), token=row.job.lease_token),
            driver.make_report(first, TaskAccepted("task-1"), token=None),
        ]
        moved, extra = driver.jobs.apply_reports(reports)
        assert moved.decision is not None
        assert (extra.decision, extra.is_extra_paid) == (None, True)
        assert driver.get(held.id).provider_task_id == "task-2"

    def test_evidence_that_came_meanwhile_is_not_overwritten(self, driver: Driver) -> None:
        """Each column goes from NULL to a value once, whatever a group believed to have read."""
        rows = claim_some(driver, 2)
        stale = [driver.row(SUBMISSIONS, row.submission.id) for row in rows]
        driver.report(rows[0], TaskAccepted("task-first"))
        given = [Given(dict(row), ANSWERED, TaskAccepted(f"task-{row['id']}"), Verdict.ACCEPTED) for row in stale]
        with driver.database.begin_write() as connection:
            stored = store_all(connection, given, now=driver.clock.now())
        assert [(each.is_new, each.is_as_given) for each in stored] == [(False, False), (True, True)]
        assert driver.row(SUBMISSIONS, rows[0].submission.id)["task_id"] == "task-first"

    def test_a_group_survives_an_id_that_is_held(self, driver: Driver) -> None:
        """A13 in a group: that one job is held, in the same transaction, and the others go on."""
        driver.add_processing("task-held")
        rows = [row for row in claim_some(driver, 3) if row.job.state is State.SUBMITTING]
        reports = accept(driver, rows)
        reports[1] = driver.make_report(rows[1], TaskAccepted("task-held"), token=rows[1].job.lease_token)
        with driver.database.begin_write() as connection:
            applied = apply_reports(connection, reports, database=driver.database)
        assert [each.is_duplicate_id for each in applied] == [False, True, False]
        expected = [State.PROCESSING, State.NEEDS_REVIEW, State.PROCESSING]
        assert [driver.state(row.job.id) for row in rows] == expected

    def test_a_refusal_sees_what_the_probe_before_it_led_to(self, driver: Driver) -> None:
        """Pauses only grow within a group: the silent probe's minute is longer than the next answer's seconds."""
        driver.add_many(3)
        first, second = driver.claim(slots={"*": 9}, limit=2)
        driver.report(first, THROTTLED)
        driver.clock.advance(HOUR)
        probe = driver.claim_one(slots={"*": 9})
        reports = [
            driver.make_report(probe, Unknown("read_timeout", "no answer"), token=probe.job.lease_token),
            driver.make_report(second, ThrottledNow("1302", "slowly"), token=second.job.lease_token),
        ]
        driver.jobs.apply_reports(reports)
        (limit,) = driver.rows(MODEL_LIMITS)
        assert limit["submit_paused_until"] == driver.clock.now() + timedelta(seconds=60)

    def test_a_move_whose_guard_does_not_hold_is_told(self, driver: Driver) -> None:
        """The evidence is kept; whoever reported it is to apply it again as late."""
        (row,) = claim_some(driver, 1)
        wrong = Decision(State.QUEUED, Trigger.LATE_TASK_ID, State.PROCESSING, driver.clock.now(), "")
        (report,) = accept(driver, [row])
        (applied,) = driver.jobs.apply_reports([replace(report, settle=lambda *_: wrong)])
        assert (applied.is_fenced, applied.decision) == (True, None)
        assert driver.state(row.job.id) is State.SUBMITTING
        assert driver.get(row.job.id).submissions[0].task_id == row.job.id
