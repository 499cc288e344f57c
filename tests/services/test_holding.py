"""The poll lane holds its rows: no write a question, yet nothing that a write would have told is missed (decision 0006)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from orchestrator.db.rows import SUBMISSIONS
from orchestrator.domain.errors import Account, StepError, Throttled, Transient
from orchestrator.domain.job import OutputDraft, Role
from orchestrator.domain.outcomes import OutputsReady
from orchestrator.domain.states import State
from orchestrator.services.explain import explain
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Drain, Stop
from orchestrator.services.lanes.held import Alarm, PollWork
from orchestrator.services.lanes.poll import PollLane, PollResult
from orchestrator.services.lanes.sweep import replay_dead_journals
from tests.services.bench import Bench
from tests.services.desk import VIDEO, die
from tests.services.poller import Poller

OTHER = {"kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}}
DONE = OutputsReady((OutputDraft(0, Role.VIDEO, "https://files.example/1.mp4"),))
SLOW_DOWN = Throttled(code="1302", message="slow down", retry_after=timedelta(seconds=40))
NO_MONEY = Account(code="1113", message="no money")


def start(bench: Bench, context: LaneContext, *lines: Mapping[str, object], **limits: object) -> Poller:
    """Lead jobs to `processing`, let them come due, and give a lane for them."""
    batch = bench.take(*lines)
    bench.submit(context)
    bench.let_due(batch)
    return Poller(bench, context, **limits)


def task(work: PollWork) -> str:
    return work.job.provider_task_id or ""


def answered(future: Future[PollResult]) -> PollResult:
    return future.result(timeout=60)


# -- holding -----------------------------------------------------------------------------------------------------


def test_a_running_tasks_row_is_asked_again_and_again_without_a_write(bench: Bench) -> None:
    """Design section 11: the next time stays in memory; what ends it is written with all that was counted."""
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        claimed = poller.row(work)
        (future,) = poller.hold([work])
        for questions in (2, 3):
            poller.pass_time(40)
            poller.wait_for_questions(questions)
            poller.alarms.wait_for(1)
        assert poller.row(work) == claimed
        poller.script.says[task(work)] = DONE
        poller.pass_time(40)
        poller.lane.apply([answered(future)])
        job = poller.row(work)
    assert (job.state, job.poll_count, job.lease_token) == (State.ARCHIVING, 4, None)


def test_how_long_an_end_may_have_gone_unnoticed_is_kept(sqlite_bench: Bench) -> None:
    """From the last answer of this claim, at the first question from the submission; nobody guesses what others heard."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        assert work.last_running_at == work.job.submitted_at
        (future,) = poller.hold([work])
        heard = work.time.now(bench.clock)
        poller.script.says[task(work)] = DONE
        poller.pass_time(40)
        poller.lane.apply([answered(future)])
        job = poller.row(work)
        wanted = select(SUBMISSIONS.c.last_running_at, SUBMISSIONS.c.final_at).where(SUBMISSIONS.c.job_id == job.id)
        known = bench.app.database.read(lambda c: tuple(c.execute(wanted).one()))
        claimed_again = PollWork(replace(work.job, poll_count=3), work.time)
    assert known == (heard, heard + timedelta(seconds=40))
    assert claimed_again.last_running_at is None


def test_it_is_asked_when_the_schedule_says(bench: Bench) -> None:
    """On the drain's own time: the claim's time and what has passed since."""
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        poller.hold([work])
        assert work.decision is not None
        assert work.decision.due_at is not None
        wait = (work.decision.due_at - bench.clock.now()).total_seconds()
        poller.pass_time(wait * 0.99)
        assert len(poller.script.asked) == 1
        poller.pass_time(wait * 0.02)
        poller.wait_for_questions(2)


def test_a_question_that_fails_is_written(sqlite_bench: Bench) -> None:
    """Its row carries trouble from then on, for everybody to see."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        poller.script.says[task(work)] = Transient(code="http_502", message="bad gateway")
        poller.lane.apply([answered(poller.start([work])[0])])
        job = poller.row(work)
        assert (job.attempt_count, job.lease_token, job.last_error) == (1, None, "http_502: bad gateway")
        del poller.script.says[task(work)]
        bench.advance(600)
        (again,) = poller.claim()
        poller.lane.apply([answered(poller.start([again])[0])])
        job = poller.row(work)
    assert (job.attempt_count, job.lease_token, job.last_error) == (0, None, None)


def test_a_far_question_is_written_and_not_held(sqlite_bench: Bench) -> None:
    """A long wait costs less as one write than as renewals."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO, poll_hold=timedelta(seconds=0.5))
        (work,) = poller.claim()
        poller.lane.apply([answered(poller.start([work])[0])])
        job = poller.row(work)
    assert (job.lease_token, job.poll_count) == (None, 1)
    assert job.due_at is not None
    assert job.due_at > bench.clock.now()


def test_a_good_answer_clears_the_deaths_of_others(bench: Bench) -> None:
    """B9: a worker that dies again and again must not push the jobs it holds over the limit: first good answer, zero."""
    with bench.process() as doomed:
        poller = start(bench, doomed, VIDEO)
        (work,) = poller.claim()
        poller.hold([work])
        die(doomed)
    with bench.process() as heir:
        replay_dead_journals(heir)
        poller = Poller(bench, heir)
        (work,) = poller.claim()
        assert work.job.death_count == 1
        poller.lane.apply([answered(poller.start([work])[0])])
        assert (poller.row(work).death_count, poller.row(work).lease_token) == (0, None)


def test_a_dead_holders_rows_are_polled_on_by_another(bench: Bench) -> None:
    """Within the lease at most: nothing was lost but the times in memory."""
    with bench.process() as dead, bench.process() as heir:
        poller = start(bench, dead, VIDEO)
        poller.hold(poller.claim())
        bench.clock.advance(timedelta(seconds=61))
        other = Poller(bench, heir)
        (work,) = other.claim()
        other.script.says[task(work)] = DONE
        other.lane.apply([answered(other.start([work])[0])])
        assert other.row(work).state is State.ARCHIVING


# -- windows -----------------------------------------------------------------------------------------------------


def test_a_claim_takes_a_statements_worth_into_free_places(sqlite_bench: Bench) -> None:
    """`poll_claim` rows at once, `poll_window` rows in all."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO, VIDEO, poll_claim=2, poll_window=3)
        first = poller.claim()
        second = poller.claim(first)
        assert [len(first), len(second), len(poller.claim(first + second))] == [2, 1, 0]


def test_no_more_questions_at_once_than_agreed(sqlite_bench: Bench) -> None:
    """Rows held are many, questions under way are few: the third goes when one of the first two has its answer."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO, VIDEO, poll_questions=2)
        works = poller.claim()
        gates = {task(work): asyncio.Event() for work in works}
        poller.script.held = dict(gates)
        poller.start(works)
        poller.wait_for_questions(2)
        poller.on_loop(lambda: None)
        assert len(poller.script.asked) == 2
        poller.on_loop(gates[poller.script.asked[0]].set)
        poller.wait_for_questions(3)
        for gate in gates.values():
            poller.on_loop(gate.set)
        poller.alarms.wait_for(3)


# -- renewal -----------------------------------------------------------------------------------------------------


def test_a_renewal_stores_what_was_counted(bench: Bench) -> None:
    """So that whoever takes over goes on counting, and the history of a long task is not one question."""
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        poller.hold([work])
        poller.pass_time(19)
        assert poller.lane.renew([work]) == []
        job = poller.row(work)
    assert job.poll_count == work.answer_count > 0
    assert job.lease_token == work.job.lease_token
    assert job.due_at == bench.clock.now() + context.limits.poll_lease


def test_a_renewal_sets_the_time_right(sqlite_bench: Bench) -> None:
    """A laptop slept for hours: its monotonic clock did not count them, the database's did."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        bench.clock._now += timedelta(hours=8)
        assert work.time.now(bench.clock) < bench.clock.now()
        assert poller.lane.renew([work]) == []
        assert work.time.now(bench.clock) == bench.clock.now()


def test_another_process_s_pause_takes_its_rows_at_the_next_renewal(bench: Bench) -> None:
    """Given back, due when they would have been asked; rows of other models stay."""
    with bench.process() as one, bench.process() as two:
        mine = start(bench, one, VIDEO, VIDEO, OTHER)
        works = mine.claim()
        refused = next(work for work in works if work.job.model == "viduq1-text")
        held = [work for work in works if work is not refused]
        mine.hold(held)
        mine.lane.release([refused])
        theirs = Poller(bench, two)
        (again,) = theirs.claim()
        theirs.lane.apply([pause_by(theirs, again)])
        lost = mine.lane.renew(held)
        assert lost == [work for work in held if work.job.model == "viduq1-text"]
        for work in lost:
            assert work.decision is not None
            job = mine.row(work)
            assert (job.lease_token, job.due_at, job.poll_count) == (None, work.decision.due_at, 1)


# -- pauses of this process's own --------------------------------------------------------------------------------


def pause_by(poller: Poller, work: PollWork, error: StepError = SLOW_DOWN) -> PollResult:
    """Let a row's question be answered by a pause; return the result, not written yet."""
    poller.script.says[task(work)] = error
    result = answered(poller.start([work])[0])
    del poller.script.says[task(work)]
    return result


def test_a_pause_reaches_the_other_rows_of_its_scope_at_once(bench: Bench) -> None:
    """Before it is even written: they are given back, due when they would have been asked, and ask nothing."""
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO, VIDEO, OTHER)
        works = poller.claim()
        other = next(work for work in works if work.job.model == "cogvideox-3")
        refused, *same = [work for work in works if work is not other]
        futures = dict(zip([*same, other], poller.hold([*same, other]), strict=True))
        asked = len(poller.script.asked)
        result = pause_by(poller, refused)
        off = [answered(futures[work]) for work in same]
        assert [one.outcome for one in off] == [None, None]
        poller.lane.apply([result, *off])
        for work in same:
            assert work.decision is not None
            job = poller.row(work)
            assert (job.lease_token, job.due_at, job.poll_count) == (None, work.decision.due_at, 1)
        assert not futures[other].done()
        assert len(poller.script.asked) == asked + 1
        assert poller.claim() == []


def test_a_credentials_pause_reaches_every_model(sqlite_bench: Bench) -> None:
    """No money: nothing of the account is asked."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO, OTHER)
        refused, other = poller.claim()
        (future,) = poller.hold([other])
        pause_by(poller, refused, NO_MONEY)
        assert answered(future).outcome is None


def test_an_answer_under_way_is_used_but_not_followed_by_another(sqlite_bench: Bench) -> None:
    """The question had left when the pause came; its row must not wait for the next one here."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO)
        refused, under_way = poller.claim()
        gate = asyncio.Event()
        poller.script.held[task(under_way)] = gate
        (future,) = poller.start([under_way])
        poller.wait_for_questions(1)
        poller.lane.apply([pause_by(poller, refused)])
        poller.on_loop(gate.set)
        poller.lane.apply([answered(future)])
        job = poller.row(under_way)
    assert (job.lease_token, job.poll_count, job.state) == (None, 1, State.PROCESSING)


def test_a_row_that_waits_for_its_turn_is_called_off(sqlite_bench: Bench) -> None:
    """It has not been asked about: it goes back as it was, due."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO, poll_questions=1)
        refused, queued = poller.claim()
        gate = asyncio.Event()
        poller.script.held[task(refused)] = gate
        poller.script.says[task(refused)] = SLOW_DOWN
        first, second = poller.start([refused, queued])
        poller.wait_for_questions(1)
        poller.on_loop(gate.set)
        poller.lane.apply([answered(first), answered(second)])
        assert poller.script.asked == [task(refused)]
        job = poller.row(queued)
    assert (job.lease_token, job.poll_count, job.due_at) == (None, 0, bench.clock.now())


def test_a_claim_that_could_not_know_of_a_pause_asks_nothing(sqlite_bench: Bench) -> None:
    """Rows taken between the answer and its commit would be asked while their model is paused."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO, poll_claim=1)
        (refused,) = poller.claim()
        result = pause_by(poller, refused)
        (between,) = poller.claim([refused])
        asked = len(poller.script.asked)
        called_off = answered(poller.start([between])[0])
        assert (called_off.outcome, len(poller.script.asked)) == (None, asked)
        poller.lane.apply([result, called_off])
        assert poller.row(between).lease_token is None


def test_one_probe_ends_a_pause_and_then_rows_are_held_again(bench: Bench) -> None:
    """Design section 7: a passed time is not an end; the probe's answer is written at once, and only then others ask."""
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO, VIDEO)
        refused, *same = poller.claim()
        futures = poller.hold(same)
        poller.lane.apply([pause_by(poller, refused), *(answered(future) for future in futures)])
        bench.clock.advance(timedelta(seconds=60))
        (probe,) = poller.claim()
        assert (probe.is_probe, probe.job.last_error) == (True, None)
        assert poller.claim([probe]) == []
        result = answered(poller.start([probe])[0])
        poller.lane.apply([result])
        rest = poller.claim()
        assert len(rest) == 2
        assert not any(work.is_probe for work in rest)
        poller.hold([work for work in rest if work.job.last_error is None])


def test_a_probe_is_renewed_although_its_scope_is_paused(bench: Bench) -> None:
    """Its question is under way: it is the one row of the scope that may be held."""
    with bench.process() as context:
        poller = start(bench, context, VIDEO, VIDEO)
        refused, other = poller.claim()
        poller.lane.apply([pause_by(poller, refused)])
        poller.lane.release([other])
        bench.clock.advance(timedelta(seconds=600))
        (probe,) = poller.claim()
        assert poller.lane.renew([probe]) == []
        assert poller.row(probe).lease_token == probe.job.lease_token


# -- stopping ----------------------------------------------------------------------------------------------------


def test_a_stop_gives_rows_back_due_when_they_would_have_been_asked(bench: Bench) -> None:
    """A restart must not ask about everything at once."""
    with bench.process() as context:
        batch = bench.take(VIDEO, VIDEO)
        bench.submit(context)
        bench.let_due(batch)
        poller = Poller(bench, context)
        stop = Stop()

        def stop_when_all_wait(seconds: float, ring: Callable[[], None]) -> Alarm:
            alarm = poller.alarms(seconds, ring)
            if len(poller.alarms.waiting()) == 2:
                stop.request()
            return alarm

        lane = PollLane(poller.context, set_alarm=stop_when_all_wait)
        stop.watch(bench.mailbox)
        before = bench.clock.now()
        Drain(lane, loop=bench.loop, clock=bench.clock, mailbox=bench.mailbox, stop=stop).run()
        for job in bench.jobs(batch):
            assert (job.lease_token, job.poll_count, job.death_count) == (None, 1, 0)
            assert job.due_at is not None
            assert before + timedelta(seconds=1) < job.due_at < before + timedelta(seconds=60)


def test_a_row_that_was_never_asked_about_goes_back_due(sqlite_bench: Bench) -> None:
    """There is no later time that it could have."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        poller.lane.release([work])
        assert (poller.row(work).due_at, poller.row(work).lease_token) == (bench.clock.now(), None)


@pytest.mark.parametrize("is_held", [True, False])
def test_what_a_row_carries_in_memory_is_small(sqlite_bench: Bench, is_held: bool) -> None:
    """The prompt and the user's own words stay in the database."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        if is_held:
            poller.hold([work])
        assert (work.job.body, work.job.input, work.job.tags) == ({}, {}, {})
        assert poller.row(work).body != {}


def test_a_held_job_is_not_said_to_be_asked_at_its_leases_end(sqlite_bench: Bench) -> None:
    """What a person reads: the stored time of a held row is its lease's, the next question comes sooner."""
    bench = sqlite_bench
    with bench.process() as context:
        poller = start(bench, context, VIDEO)
        (work,) = poller.claim()
        poller.hold([work])
        held = explain(poller.row(work), now=bench.clock.now())
        poller.lane.release([work])
        released = explain(poller.row(work), now=bench.clock.now())
    assert "the provider is working; a process keeps asking" in held
    assert "the provider is working; next check in " in released
