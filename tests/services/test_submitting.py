"""The submit lane by hand: what each answer leads to, who is paused, and what is sent at most once (design section 7)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from orchestrator.db.rows import JOBS
from orchestrator.domain.errors import Transient
from orchestrator.domain.job import Job, Verdict
from orchestrator.domain.outcomes import Unknown
from orchestrator.domain.ports import Applied, DeadJournal, EvidenceReport, JournalRecord
from orchestrator.domain.states import State
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.submit import NOBODY_KNOWS, SubmitLane, store_evidence
from orchestrator.services.lanes.sweep import replay_dead_journals, settle_lapsed
from tests.services.bench import EXAMPLES, SYNC_VIDEO, TALK, Bench, with_provider
from tests.services.desk import IMAGE, VIDEO, die

COGVIDEO = {"kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}}


def newest_event(bench: Bench, job: Job) -> str:
    return bench.events(job)[-1]


# -- taken -------------------------------------------------------------------------------------------------------


def test_a_task_that_was_taken_is_polled_at_its_kinds_first_time(bench: Bench) -> None:
    """Submitting, task id -> processing; the price is charged; the answer lies in the journal."""
    with bench.process() as context:
        job = bench.only(bench.start_processing(context))
    (task,) = bench.ledger()
    assert (job.state, job.provider_task_id) == (State.PROCESSING, task["id"])
    assert job.price is not None
    assert job.cost_final_micros == job.price.micros
    first = context.rules.schedule_of("video").first
    assert job.due_at is not None
    assert first * 0.9 <= job.due_at - bench.clock.now() <= first * 1.1
    assert newest_event(bench, job) == "submitted"
    assert task["request_id"] == job.submissions[0].id
    assert bench.posts() == 1


def test_a_whole_answer_is_stored_whole_in_the_same_commit(bench: Bench) -> None:
    """Immediate kinds: transcript and its JSON lie in the outputs once the job says archiving."""
    with bench.process() as context:
        job = bench.only(bench.start_processing(context, TALK))
    assert job.state is State.ARCHIVING
    text, document = job.outputs
    assert (text.role, document.role) == ("transcript", "transcript_json")
    assert text.text
    assert json.loads(document.text or "")["text"].strip() == text.text.strip()
    assert bench.posts() == 1


# -- pauses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "code"), [("rate_limit", "1302"), ("overload", "1305")])
def test_a_refusal_for_now_pauses_its_model_and_no_other(sqlite_bench: Bench, fault: str, code: str) -> None:
    """1302 and 1305: one call is refused, the model's other jobs wait, other models go on; then one probe goes first."""
    bench = sqlite_bench
    bench.faults({"fault": fault, "phase": "submit", "model": "viduq1-text"})
    with bench.process() as real:
        context = replace(real, limits=replace(real.limits, submit_window=1, slots={"*": 5}))
        batch = bench.take(VIDEO, VIDEO, VIDEO, COGVIDEO)
        bench.submit(context)
        refused = [job for job in bench.jobs(batch) if job.last_error]
        assert [job.provider_code for job in refused] == [code]
        assert bench.posts() == 2
        assert [job.state for job in bench.jobs(batch)].count(State.PROCESSING) == 1
        bench.advance(600)
        bench.submit(real)
        assert bench.posts() == 3  # the probe
        bench.faults()
        bench.advance(600)
        bench.submit(real)
    assert {job.state for job in bench.jobs(batch)} == {State.PROCESSING}
    assert len(bench.ledger()) == 4


@pytest.mark.parametrize(("fault", "code"), [("arrears", "1113"), ("auth", "1002")])
def test_account_trouble_stops_the_account_with_one_call(bench: Bench, fault: str, code: str) -> None:
    """A16, A17: every model waits; when the pause is over one probe goes, and it alone while the trouble lasts."""
    bench.faults({"fault": fault, "phase": "submit"})
    with bench.process() as context:
        batch = bench.take(*[VIDEO] * 3, *[COGVIDEO] * 3)
        bench.submit(replace(context, limits=replace(context.limits, submit_window=1)))
        assert bench.posts() == 1
        for probes in (1, 2):
            bench.advance(301)
            bench.submit(context)
            assert bench.posts() == 1 + probes
        assert {job.state for job in bench.jobs(batch)} == {State.QUEUED}
        assert {job.provider_code for job in bench.jobs(batch)} == {code, None}
        bench.faults()
        bench.advance(301)
        bench.submit(context)
        bench.advance(1)
        bench.submit(context)
    assert sum(job.state is State.PROCESSING for job in bench.jobs(batch)) >= 2
    assert bench.stats()["max_posts_per_request_id"] == 1


def test_a_refused_prompt_fails_at_once_and_costs_nothing(bench: Bench) -> None:
    """1301: failed/content_policy with the code, cost 0, never tried again."""
    bench.faults({"fault": "content_policy", "phase": "submit"})
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.advance(3600)
        bench.submit(context)
    job = bench.only(batch)
    assert (job.state, job.failure_code, job.provider_code) == (State.FAILED, "content_policy", "1301")
    assert job.cost_final_micros == 0
    assert bench.posts() == 1


# -- doubt -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "charges"),
    [
        ({"fault": "lost_answer"}, 1),
        ({"fault": "reset"}, 0),
        *[({"fault": "malformed_answer", "reason": way}, 1) for way in ("html", "truncated", "no_id", "two_ids")],
    ],
)
def test_doubt_is_held_and_nothing_is_sent_again(sqlite_bench: Bench, rule: dict[str, Any], charges: int) -> None:
    """A9, A12, promise 3: needs_review, cost unknown, and no later drain sends it again however long it waits."""
    bench = sqlite_bench
    bench.faults({**rule, "phase": "submit"})
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.faults()
        for _ in range(3):
            bench.advance(86_400)
            bench.submit(context)
            bench.sweep(context)
    job = bench.only(batch)
    assert job.state is State.NEEDS_REVIEW
    assert job.cost_final_micros is None
    assert newest_event(bench, job) == "unknown"
    assert bench.posts() == 1
    assert len(bench.ledger()) == charges


def test_a_call_without_an_answer_ends_at_its_deadline(sqlite_bench: Bench) -> None:
    """A10: read time-out after the first byte: held."""
    bench = sqlite_bench
    bench.faults({"fault": "hang", "phase": "submit", "seconds": 60})
    quick = bench.app.settings.model_copy(update={"call_deadlines": {"video": timedelta(seconds=0.3)}})
    bench.app = replace(bench.app, settings=quick)
    with bench.process() as context:
        job = bench.only(bench.start_processing(context))
    assert job.state is State.NEEDS_REVIEW
    assert bench.posts() == 1


@pytest.mark.parametrize(("seconds", "posts"), [(59.0, 1), (61.0, 0)])
def test_a_call_that_comes_too_late_is_not_made(bench: Bench, seconds: float, posts: int) -> None:
    """A7, the zombie check: frozen past the margin between claim and first byte: nothing is sent, queued again."""
    with bench.process() as real:
        context = with_provider(real, before=lambda: bench.clock.advance(timedelta(seconds=seconds)))
        batch = bench.take(VIDEO)
        lane = SubmitLane(context)
        (work,) = lane.claim([])
        lane.apply([bench.loop.submit(lane.perform(work)).result()])
    job = bench.only(batch)
    assert bench.posts() == posts
    if posts:
        assert job.state is State.PROCESSING
        return
    assert job.state is State.QUEUED
    assert (job.submissions[0].verdict, job.submissions[0].provider_code) == (Verdict.NOT_SENT, "lease_too_old")
    assert job.cost_final_micros is None
    assert newest_event(bench, job) == "not_sent"


def test_a_refused_connection_is_certainly_not_sent(sqlite_bench: Bench) -> None:
    """A8: nobody listens: queued again with a backoff, no doubt."""
    bench = sqlite_bench
    nowhere = bench.app.settings.model_copy(update={"zai_base_url": "http://127.0.0.1:9/api/paas/v4"})
    bench.app = replace(bench.app, settings=nowhere)
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.let_due(batch)
        bench.submit(context)
    job = bench.only(batch)
    assert job.state is State.QUEUED
    assert {submission.verdict for submission in job.submissions} == {Verdict.NOT_SENT}
    assert job.attempt_count == len(job.submissions) == 2


# -- inputs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["input_missing", "input_changed"])
def test_an_input_that_is_not_what_was_agreed_is_never_sent(bench: Bench, code: str) -> None:
    """The bytes are read back from inputs/<sha256> and hashed before anything leaves."""
    with bench.process() as context:
        batch = bench.take(TALK)
        (stored,) = bench.archived_file("inputs").iterdir()
        stored.chmod(0o600)
        if code == "input_missing":
            stored.unlink()
        else:
            stored.write_bytes(stored.read_bytes()[:-1] + b"?")
        bench.submit(context)
    job = bench.only(batch)
    assert (job.state, job.failure_code, job.cost_final_micros) == (State.FAILED, code, 0)
    assert newest_event(bench, job) == code
    assert bench.posts() == 0


def test_an_input_reaches_the_provider_as_it_was(bench: Bench) -> None:
    """The recording that was copied at intake is what is heard, though the file has changed since."""
    batch = bench.take(TALK)
    (bench.folder / "kite.wav").write_bytes((EXAMPLES / "speech/lighthouse.wav").read_bytes())
    with bench.process() as context:
        bench.submit(context)
    assert "kite" in (bench.only(batch).outputs[0].text or "").lower()


# -- journal -----------------------------------------------------------------------------------------------------


class JobsThatAreAway:
    """The real job table, except that answers cannot be stored for a while."""

    def __init__(self, context: LaneContext, *, refusals: int, on_refusal: Callable[[str], None]) -> None:
        self._real: Any = context.jobs
        self._left = refusals
        self._on_refusal = on_refusal

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real one has
        return getattr(self._real, name)

    def apply_reports(self, reports: Sequence[EvidenceReport]) -> Sequence[Applied]:
        if self._left:
            self._left -= 1
            self._on_refusal(reports[0].submission_id)
            raise Transient("database_unavailable", "connection refused")
        applied: Sequence[Applied] = self._real.apply_reports(reports)
        return applied


def journal_text(bench: Bench) -> str:
    return "".join(path.read_text() for path in sorted(bench.app.settings.journal_dir.glob("*.jsonl")))


@pytest.mark.parametrize("line", [VIDEO, IMAGE, TALK], ids=["video", "image", "transcription"])
def test_an_answer_is_journalled_before_it_is_committed_and_kept_until_then(bench: Bench, line: dict[str, Any]) -> None:
    """A6: the database is away when the answer comes: it lies in the journal, is kept and committed on its return."""
    seen: list[bool] = []

    def note(submission_id: str) -> None:
        seen.append(submission_id in journal_text(bench))
        bench.mailbox.wake()

    with bench.process() as real:
        away: Any = JobsThatAreAway(real, refusals=3, on_refusal=note)
        job = bench.only(bench.start_processing(replace(real, jobs=away), line))
    assert seen == [True, True, True]
    assert journal_text(bench) == "", "the database has everything: the journal went with its process"
    assert job.state in (State.PROCESSING, State.ARCHIVING)
    assert bench.posts() == 1
    assert len(bench.ledger()) == 1


class Died(BaseException):
    """What happens to a process between its journal and its commit."""


@pytest.mark.parametrize("line", [VIDEO, IMAGE, TALK], ids=["video", "image", "transcription"])
def test_what_died_between_journal_and_commit_is_linked_by_the_next(bench: Bench, line: dict[str, Any]) -> None:
    """A5, promise 4: the next process links the id or the whole answer, ends the journal, and nothing is charged again."""

    def end(_: str) -> None:
        raise Died

    with bench.process() as real:
        away: Any = JobsThatAreAway(real, refusals=1, on_refusal=end)
        batch = bench.take(line)
        with pytest.raises(Died):
            bench.submit(replace(real, jobs=away))
        die(real)
    assert bench.only(batch).state is State.SUBMITTING
    with bench.process() as heir:
        assert replay_dead_journals(heir).startswith("1 answers linked, 0 submissions unknown")
        bench.let_due(batch)
        bench.poll(heir)
        bench.archive(heir)
        assert journal_text(bench) == ""
        assert replay_dead_journals(heir).startswith("0 answers linked")
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED
    assert bench.posts() == 1
    assert len(bench.ledger()) == 1


class FullJournal:
    """A journal on a disk without room."""

    def __init__(self, process: str) -> None:
        self.process = process

    def append(self, *records: JournalRecord) -> None:
        raise Transient("journal_full", "no space left on device")

    def settle(self, submission_id: str) -> None:
        """Nothing was written."""

    def dead(self) -> list[DeadJournal]:
        return []


def test_a_full_disk_is_an_alarm_and_the_commit_still_comes(
    sqlite_bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Design section 7, step 4: the answer is not thrown away because the journal cannot be written."""
    bench = sqlite_bench
    with bench.process() as real:
        context = replace(real, journal=FullJournal(real.journal.process))
        job = bench.only(bench.start_processing(context))
    assert job.state is State.PROCESSING
    assert [r.levelno for r in caplog.records if r.message == "journal_failed"] == [logging.ERROR]


# -- fencing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [VIDEO, IMAGE], ids=["task", "whole answer"])
def test_an_answer_after_the_sweep_brings_its_job_back_by_itself(bench: Bench, line: dict[str, Any]) -> None:
    """A7, promise 4: lease lapsed, swept to needs_review, then the answer: applied at once as late evidence."""
    held: list[State] = []

    with bench.process() as sweeper, bench.process() as real:
        batch = bench.take(line)

        def freeze() -> None:
            bench.clock.advance(timedelta(minutes=10))
            assert settle_lapsed(sweeper) == "1 lapsed submissions"
            held.append(bench.only(batch).state)

        bench.submit(with_provider(real, after=freeze))
    job = bench.only(batch)
    assert held == [State.NEEDS_REVIEW]
    assert job.state is (State.PROCESSING if line is VIDEO else State.ARCHIVING)
    assert bench.events(job)[-2:] == ["unknown", "late_task_id" if line is VIDEO else "late_answer"]
    assert bench.posts() == 1


def test_a_fenced_answer_is_used_and_holds_up_none_of_its_group(bench: Bench) -> None:
    """Answers that come together are committed together; the replaced one is applied again as late evidence."""
    with bench.process() as context:
        batch = bench.take(VIDEO, VIDEO, VIDEO)
        lane = SubmitLane(context)
        works = lane.claim([])
        results = [bench.loop.submit(lane.perform(work)).result() for work in works]
        swept = works[1].claimed
        store_evidence(
            context, swept.submission.id, NOBODY_KNOWS, Unknown("lapsed", "nobody"), token=swept.job.lease_token
        )
        lane.apply(results)
    assert [job.state for job in bench.jobs(batch)] == [State.PROCESSING] * 3
    assert sorted(newest_event(bench, job) for job in bench.jobs(batch)) == ["late_task_id", "submitted", "submitted"]
    assert bench.posts() == len(bench.ledger()) == 3


def test_a_refusal_after_the_sweep_settles_its_job_too(bench: Bench) -> None:
    """Late truth of a sure refusal: out of needs_review again, nothing was charged."""
    bench.faults({"fault": "content_policy", "path": SYNC_VIDEO})
    with bench.process() as real:
        batch = bench.take(VIDEO)

        def freeze() -> None:
            bench.clock.advance(timedelta(minutes=10))
            settle_lapsed(real)

        bench.submit(with_provider(real, after=freeze))
    job = bench.only(batch)
    assert (job.state, job.failure_code, job.cost_final_micros) == (State.FAILED, "content_policy", 0)
    assert "unknown" in bench.events(job)


def test_a_kind_of_a_newer_release_waits_and_holds_nobody_up(bench: Bench) -> None:
    """Promise 9: its neighbours of the claim are sent; it goes back to the queue unsent, for a worker that knows it."""
    batch = bench.take(VIDEO, COGVIDEO | {"custom_id": "other"})
    odd = next(job for job in bench.jobs(batch) if job.custom_id != "other")
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == odd.id).values(kind="hologram"))
    with bench.process() as context:
        bench.submit(context)
    states = {job.custom_id: (job.state, job.failure_code) for job in bench.jobs(batch)}
    assert states == {"other": (State.PROCESSING, None), odd.custom_id: (State.QUEUED, None)}
    assert bench.posts() == 1
