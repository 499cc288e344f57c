"""Hypothesis drives the state machine: who holds a lease may write, everyone else may not, in whatever order they try."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.db import writes
from orchestrator.db.engine import Database, make_engine
from orchestrator.domain.decide import Decision, decide_cancel, decide_resubmit, decide_write_off
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import SURE_REFUSALS, Job
from orchestrator.domain.outcomes import (
    ArchiveStep,
    CallEvidence,
    NotSent,
    Outcome,
    OutputFailed,
    OutputsReady,
    OutputStored,
    PollFailed,
    ProviderFailed,
    StillRunning,
    SubmitOutcome,
    TaskAccepted,
    Unknown,
)
from orchestrator.domain.ports import ClaimedSubmission, LaneName
from orchestrator.domain.states import State, Trigger, check_transition
from tests.db.driver import LEASE, Driver
from tests.factories import make_draft, make_file
from tests.fixtures.clock import FakeClock

WHICH = st.integers(0, 59)  # of whatever there is, counted round
SLOTS = 2
ACTS: dict[str, Callable[[Driver, Job], Decision | None]] = {
    "resubmit": lambda driver, job: decide_resubmit(job, driver.rules, driver.clock.now()),
    "write off": lambda driver, job: decide_write_off(job, driver.clock.now()),
    "cancel": lambda driver, job: decide_cancel(job, driver.clock.now()),
}
LAPSED: SubmitOutcome = Unknown("lease_lapsed", "nothing was said")
NEWS: dict[str, Outcome] = {
    "running": StillRunning("PROCESSING"),
    "broken": PollFailed("http_500", "an error page"),
    "failed": ProviderFailed("1301", "refused by a filter"),
    "done": OutputsReady((make_draft(),)),
}


class Leases(RuleBasedStateMachine):
    """Several holders on one job table. The model knows one thing: whose token was given out last and not used up."""

    urls: ClassVar[Iterator[str]]
    """Fresh databases, one for each story."""

    @initialize(stages=st.lists(st.sampled_from(("new", "held", "processing", "archiving")), min_size=1, max_size=2))
    def begin(self, stages: list[str]) -> None:
        """Start with a few jobs, each somewhere on its way."""
        clock = FakeClock()
        self.driver = Driver(Database(make_engine(next(self.urls)), clock), clock)
        stages = sorted(stages, key=lambda stage: stage == "new")  # whoever leads a job on claims all that are new
        self.job_ids = [self.add(stage, number) for number, stage in enumerate(stages)]
        self.owner: dict[str, str | None] = dict.fromkeys(self.job_ids)
        self.calls: list[ClaimedSubmission] = []
        self.held: list[Job] = []
        self.tasks: dict[str, str] = {}
        self.agreed: Counter[str] = Counter()

    def add(self, stage: str, number: int) -> str:
        """Return the id of a job that is so far."""
        if stage == "held":
            return self.driver.add_held().id
        if stage == "processing":
            return self.driver.add_processing(f"first-{number}").id
        if stage == "archiving":
            return self.driver.add_archiving(task_id=f"first-{number}").id
        return self.driver.add_many(1)[0]

    # -- what holders do ------------------------------------------------------------------------------------------

    @rule()
    def claim_submissions(self) -> None:
        """Take what waits for a slot."""
        for row in self.driver.claim(slots={"*": SLOTS}):
            self.owner[row.job.id] = row.job.lease_token
            self.calls.append(row)

    @precondition(lambda self: self.calls)
    @rule(which=WHICH, way=st.sampled_from(("taken", "not sent", "silent")))
    def answer(self, which: int, way: str) -> None:
        """A paid call ends; its holder writes, and hands in late what it may not write any more."""
        row = self.calls.pop(which % len(self.calls))
        outcome: SubmitOutcome = NotSent("connect_timeout", "nothing left")
        if way == "taken":
            outcome = TaskAccepted(f"task-{len(self.tasks)}")
            self.tasks[row.submission.id] = outcome.task_id
        elif way == "silent":
            outcome = Unknown("read_timeout", "no answer")
        applied = self.driver.report(row, outcome)
        self.see(row.job, is_fenced=applied.is_fenced)
        if applied.is_fenced:
            late = self.driver.report_late(row.submission.id, outcome)
            if late.decision is not None:
                self.owner[row.job.id] = None

    @rule(lane=st.sampled_from((LaneName.POLL, LaneName.ARCHIVE)))
    def claim_due(self, lane: LaneName) -> None:
        """Take what is due, also from holders whose leases have lapsed."""
        for job in self.driver.jobs.claim_due(lane, limit=10, lease=LEASE).rows:
            self.owner[job.id] = job.lease_token
            self.held.append(job)
        for job_id in self.job_ids:  # of rows that may kill who works at them a claim gives back all but one
            if self.driver.get(job_id).lease_token is None:
                self.owner[job_id] = None

    @precondition(lambda self: self.held)
    @rule(which=WHICH, news=st.sampled_from(sorted(NEWS)), is_stored=st.booleans())
    def write(self, which: int, news: str, *, is_stored: bool) -> None:
        """A holder writes what it found out, in time or late."""
        job = self.held.pop(which % len(self.held))
        outcome = NEWS[news]
        if job.state is State.ARCHIVING:
            outcome = ArchiveStep(tuple(self.archived(output.id, is_stored=is_stored) for output in job.outputs))
        self.see(job, is_fenced=self.driver.apply(job, outcome).is_fenced)

    @staticmethod
    def archived(output_id: str, *, is_stored: bool) -> OutputStored | OutputFailed:
        """Return what came of storing one output."""
        return (
            OutputStored(output_id, make_file()) if is_stored else OutputFailed(output_id, "http_500", "an error page")
        )

    def see(self, job: Job, *, is_fenced: bool) -> None:
        """The last who was given the row may write it, and only once; nobody else may."""
        is_owner = self.owner[job.id] is not None and self.owner[job.id] == job.lease_token
        assert is_fenced is not is_owner, f"{job.id} as {job.state}: {'fenced' if is_fenced else 'written'}"
        if is_owner:
            self.owner[job.id] = None

    # -- what time and people do ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1, 30, 90, 4000)))
    def wait(self, seconds: int) -> None:
        """Let leases lapse, or not yet."""
        self.driver.clock.advance(timedelta(seconds=seconds))

    @rule()
    def settle_lapsed(self) -> None:
        """The sweep holds what its holder said nothing about."""
        for row in self.driver.jobs.find_lapsed_submissions(limit=10):
            applied = self.driver.report(row, LAPSED, CallEvidence(moment=None))
            self.see(row.job, is_fenced=applied.is_fenced)

    @rule(lane=st.sampled_from((LaneName.POLL, LaneName.ARCHIVE)))
    def take_over(self, lane: LaneName) -> None:
        """Every holder stands still for longer than its lease, and others go on."""
        self.wait(4000)
        self.settle_lapsed()
        self.claim_due(lane)

    @precondition(lambda self: self.calls or self.held)
    @rule(lane=st.sampled_from((LaneName.POLL, LaneName.ARCHIVE)))
    def wake_up(self, lane: LaneName) -> None:
        """Whoever has stood still for longest writes what it has: an answer, or what a poll found."""
        self.take_over(lane)
        for row in list(self.calls[:1]):
            self.submit_again(self.job_ids.index(row.job.id))
            self.answer(0, "taken")
        if self.held:
            self.write(0, "running", is_stored=True)

    @rule(which=WHICH)
    def submit_again(self, which: int) -> None:
        """A person has what is held submitted again, and it is claimed at once, while the first holder may still wake."""
        self.act(which, "resubmit")
        self.claim_submissions()

    @rule(which=WHICH, act=st.sampled_from(("resubmit", "resubmit", "resubmit", "write off", "cancel")))
    def act(self, which: int, act: str) -> None:
        """A person presses a button, whatever the job is at."""
        job_id = self.job_ids[which % len(self.job_ids)]
        try:
            applied = self.driver.jobs.transact(
                job_id, lambda job, _: ACTS[act](self.driver, job), actor="ann", reason="as people do"
            )
        except Conflict:
            return
        if applied.decision is not None:
            self.owner[job_id] = None
            self.agreed[job_id] += act == "resubmit"

    # -- what must be so ------------------------------------------------------------------------------------------

    @invariant()
    def nobody_pays_twice(self) -> None:
        """One call that may have been charged, and one more for each time that a person agreed to it."""
        for job_id in self.job_ids:
            records = self.driver.history.list_submissions(job_id)
            doubtful = [record for record in records if record.submission.verdict not in SURE_REFUSALS]
            assert len(doubtful) <= 1 + self.agreed[job_id], job_id

    @invariant()
    def no_task_is_forgotten(self) -> None:
        """An id that was answered stands on its call, whoever was allowed to move the job."""
        records = [each for job_id in self.job_ids for each in self.driver.history.list_submissions(job_id)]
        known = {record.submission.id: record.submission.task_id for record in records}
        assert {call: known.get(call) for call in self.tasks} == self.tasks

    @invariant()
    def histories_are_whole(self) -> None:
        """Each is a walk through the table of states, without gaps, that ends where the job stands."""
        for job_id in self.job_ids:
            events, state = self.driver.history.list_events(job_id), None
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            for event in events:
                if event.from_state is not event.to_state:
                    assert event.from_state is state
                    assert event.to_state is not None
                    check_transition(event.from_state, Trigger(event.type), event.to_state)
                    state = event.to_state
            assert state is self.driver.state(job_id)

    def teardown(self) -> None:
        """Close the file."""
        if hasattr(self, "driver"):
            self.driver.database.close()


def look(urls: Iterator[str], *, stories: int = 40, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    """Tell so many stories, the same in every run; raises what the first that goes wrong raised."""
    machine = type("Leases", (Leases,), {"urls": urls})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=stories,
            stateful_step_count=30,
            deadline=None,
            database=None,
            derandomize=True,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def urls(sqlite_url_factory: Callable[..., str]) -> Iterator[str]:
    """Give the URLs of fresh files."""
    return (sqlite_url_factory() for _ in itertools.count())


def test_no_order_of_holders_breaks_a_promise(urls: Iterator[str]) -> None:
    """C5, A7: stale holders write nothing, their answers are kept, and nobody pays twice."""
    look(urls)


def _without_token(patch: pytest.MonkeyPatch) -> None:
    made = writes._move_statement
    patch.setattr(writes, "_move_statement", lambda columns, _has_token, is_sqlite: made(columns, False, is_sqlite))


def _with_silence_taken_for_unsent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys.modules[__name__], "LAPSED", NotSent("lease_lapsed", "nothing was said"))


@pytest.mark.parametrize("breaking", [_without_token, _with_silence_taken_for_unsent], ids=lambda each: each.__name__)
def test_a_missing_guard_is_found(
    urls: Iterator[str], monkeypatch: pytest.MonkeyPatch, breaking: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """A machine that cannot fail proves nothing."""
    breaking(monkeypatch)
    with pytest.raises(AssertionError):
        look(urls, phases=(Phase.generate,))
