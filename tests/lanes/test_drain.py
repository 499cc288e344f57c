"""The drain: claim, perform, apply, refill, wait, renew, stop (design section 5)."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta

import pytest

from orchestrator.services.lanes.drain import IDLE_BUDGET_SECONDS, SHORTEST_LOOK_SECONDS
from tests.lanes.scripted import DATABASE_AWAY, ScriptedLane

pytestmark = pytest.mark.timeout(60)  # what is proven here is also that none of it waits for ever

SECOND = timedelta(seconds=1)
PAID = None
"""The submit lane renews nothing; that is how a drain knows that its work must not be dropped."""


# -- working -----------------------------------------------------------------------------------------------------


def test_everything_due_is_performed_and_written() -> None:
    """Until nothing is due."""
    lane = ScriptedLane("abcdefg", window=3)
    lane.drain()
    assert sorted(lane.written) == list("abcdefg")
    assert lane.claimed == list("abcdefg")


def test_places_are_refilled_while_others_are_in_flight() -> None:
    """A drain never just waits for the slowest: c and d begin and end while a is still going on."""
    lane = ScriptedLane("abcd", window=2)
    lane.hold("a")
    lane.on_perform["d"] = lambda: lane.finish("a")
    lane.drain()
    assert set(lane.written) == set("abcd")
    assert lane.written.index("c") < lane.written.index("a")


def test_work_that_becomes_due_meanwhile_is_taken() -> None:
    """While any row is in flight the drain goes on looking; a wake-up makes it look at once."""
    lane = ScriptedLane("a")
    lane.hold("a")

    def bring_more() -> None:
        lane.due.append("b")
        lane.mailbox.wake()

    lane.on_perform = {"a": bring_more, "b": lambda: lane.finish("a")}
    lane.drain()
    assert set(lane.written) == {"a", "b"}


def test_a_lane_with_plenty_of_places_does_not_look_whenever_one_ends() -> None:
    """Rows that end all the time must not cost a claim each: the next look comes with the second."""
    lane = ScriptedLane(["first", *"abc"], window=100)
    lane.looks_when_finished = False
    lane.hold("first", *"abc")
    lane.next_due_in = timedelta(0)
    waiting = list("bc")
    claims_at_end: list[int] = []

    def end_next() -> None:
        if waiting:
            lane.finish(waiting.pop(0))
        elif not claims_at_end:
            claims_at_end.append(lane.claim_count)
            lane.due.append("late")
            lane.clock.advance(SECOND)

    def end_all() -> None:
        lane.next_due_in = None
        lane.finish("first")

    lane.on_perform = {"c": lambda: lane.finish("a"), "late": end_all}
    lane.on_apply = end_next
    lane.drain()
    assert set(lane.written) == {"first", "late", *"abc"}
    assert claims_at_end == [2]  # the one that brought all, and the one after it that brought nothing


def test_a_result_that_the_database_refuses_spares_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Promise 9: written one by one, the refused one is told and dropped, and the lane goes on claiming."""
    lane = ScriptedLane("abcde", window=3)
    lane.hold("a", "b", "c")

    def finish_together() -> None:
        for work in "abc":
            lane.finish(work)

    lane.on_perform["c"] = finish_together
    lane.refused = {"b"}
    with caplog.at_level(logging.WARNING):
        lane.drain()
    assert sorted(lane.written) == list("acde")
    assert [record.message for record in caplog.records].count("result_refused") == 1


def test_a_bug_in_one_piece_of_work_spares_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Promise 9: told as an error with its traceback; its lease lapses."""
    lane = ScriptedLane("abc")
    lane.broken = {"b"}
    lane.drain()
    assert sorted(lane.written) == ["a", "c"]
    (record,) = [record for record in caplog.records if record.message == "perform_crashed"]
    assert record.levelno == logging.ERROR
    assert record.exc_info


def test_a_claim_that_fails_is_told_and_waits_for_the_next_tick(caplog: pytest.LogCaptureFixture) -> None:
    """C1: the database is away; nothing is lost by not claiming."""
    lane = ScriptedLane("a")

    def fail() -> None:
        raise DATABASE_AWAY

    lane.on_claim = fail
    lane.drain()
    assert lane.claimed == []
    assert "claim_failed" in caplog.messages


# -- writing -----------------------------------------------------------------------------------------------------


def test_results_are_kept_until_they_could_be_written() -> None:
    """A6: the answer is kept in memory and written when the database is back; nothing more is begun until then."""
    lane = ScriptedLane("abc", window=1)
    failures = iter([True, True])

    def fail_twice() -> None:
        if next(failures, False):
            lane.mailbox.wake()
            assert lane.claimed == ["a"]
            raise DATABASE_AWAY

    lane.on_apply = fail_twice
    lane.drain()
    assert lane.written == ["a", "b", "c"]


# -- waiting -----------------------------------------------------------------------------------------------------


def woken_at_each_look(lane: ScriptedLane) -> None:
    """Spare the test the waits: every look ahead is followed by a wake-up."""
    lane.on_look = lane.mailbox.wake


def test_an_idle_drain_waits_for_work_close_at_hand_within_its_budget() -> None:
    """30 s of waits of a second each, then the tick takes over."""
    lane = ScriptedLane()
    lane.next_due_in = SECOND
    woken_at_each_look(lane)
    lane.drain()
    assert lane.look_count == IDLE_BUDGET_SECONDS + 1


def test_time_with_work_in_flight_costs_no_budget() -> None:
    """The budget counts only time with an empty window."""
    lane = ScriptedLane("a")
    lane.hold("a")
    lane.next_due_in = SECOND

    def stay_busy() -> None:
        if lane.claim_count == 100:
            lane.finish("a")
        elif lane.claim_count < 100:
            lane.mailbox.wake()

    lane.on_claim = stay_busy
    woken_at_each_look(lane)
    lane.drain()
    idle_claims = lane.claim_count - 100
    assert lane.written == ["a"]
    assert idle_claims >= IDLE_BUDGET_SECONDS


def test_new_work_renews_the_budget() -> None:
    """A lane that is fed now and then never gives up the wait for a row that is nearly due."""
    lane = ScriptedLane()
    lane.next_due_in = SECOND
    woken_at_each_look(lane)
    lane.on_claim = lambda: lane.due.append("a") if lane.claim_count == 20 else None
    lane.drain()
    assert lane.written == ["a"]
    assert lane.claim_count >= 20 + IDLE_BUDGET_SECONDS


@pytest.mark.parametrize("wait", [None, 2 * SECOND, timedelta(hours=1)])
def test_nothing_near_ends_the_drain(wait: timedelta | None) -> None:
    """A later due_at is the next tick's."""
    lane = ScriptedLane()
    lane.next_due_in = wait
    lane.drain()
    assert (lane.claim_count, lane.look_count) == (1, 1)


@pytest.mark.parametrize("wait", [timedelta(0), timedelta(seconds=-5), timedelta(milliseconds=1)])
def test_due_but_not_to_be_had_does_not_spin(wait: timedelta) -> None:
    """Another took it, or its slot went: each look costs a tenth of a second of the budget, whatever due_at says."""
    lane = ScriptedLane()
    lane.next_due_in = wait
    woken_at_each_look(lane)
    lane.drain()
    assert lane.look_count == pytest.approx(IDLE_BUDGET_SECONDS / SHORTEST_LOOK_SECONDS, abs=2)


# -- leases ------------------------------------------------------------------------------------------------------


def test_leases_are_renewed_and_lost_rows_are_dropped() -> None:
    """Renewed every third of the lease; a row that is another's by now is cancelled here and never written."""
    lane = ScriptedLane("ab", renew_every_seconds=20.0)
    lane.hold("a", "b")
    lane.on_perform["b"] = lambda: lane.clock.advance(20 * SECOND)

    def lose_b() -> Collection[str]:
        lane.finish("a")
        return ["b"]

    lane.on_renew = lose_b
    lane.on_claim = lambda: lane.mailbox.wake() if lane.renew_count == 0 else None
    lane.drain()
    assert lane.renew_count == 1
    assert lane.written == ["a"]
    assert lane.cancelled == ["b"]


def test_each_row_is_renewed_by_its_own_time() -> None:
    """A row that was taken later is renewed later: no renewal of many rows at once stalls those that finish."""
    lane = ScriptedLane("a", renew_every_seconds=20.0)
    lane.hold("a", "b")
    renewed: list[list[str]] = []

    def pass_ten_seconds() -> None:
        lane.clock.advance(10 * SECOND)
        lane.mailbox.wake()

    def bring_b() -> None:
        lane.due.append("b")
        pass_ten_seconds()

    def note_renewal() -> Collection[str]:
        renewed.append(lane.renewing)
        if len(renewed) == 1:
            pass_ten_seconds()
        else:
            lane.finish("a")
            lane.finish("b")
        return ()

    lane.on_perform = {"a": bring_b, "b": pass_ten_seconds}
    lane.on_renew = note_renewal
    lane.drain()
    assert renewed == [["a"], ["b"]]


def test_a_renewal_takes_a_statements_worth_and_then_looks_at_results() -> None:
    """Of 1,200 rows that are due for it together, no more than 500 go into one statement."""
    works = [str(number) for number in range(1200)]
    lane = ScriptedLane(works, window=2000, renew_every_seconds=20.0)
    lane.hold(*works)
    sizes: list[int] = []

    def note_size() -> Collection[str]:
        sizes.append(len(lane.renewing))
        if len(sizes) == 3:
            lane.stop.request()
        return ()

    lane.on_renew = note_size
    lane.on_perform["1199"] = lambda: lane.clock.advance(20 * SECOND)
    lane.drain()
    assert sizes == [500, 500, 200]


def test_a_renewal_that_fails_goes_on_with_the_work(caplog: pytest.LogCaptureFixture) -> None:
    """The lease has two thirds left: the next renewal may reach the database."""
    lane = ScriptedLane("a")
    lane.hold("a")
    lane.on_perform["a"] = lambda: lane.clock.advance(20 * SECOND)
    lane.on_claim = lambda: lane.mailbox.wake() if lane.renew_count == 0 else None

    def fail() -> Collection[str]:
        lane.finish("a")
        raise DATABASE_AWAY

    lane.on_renew = fail
    lane.drain()
    assert lane.written == ["a"]
    assert "renewal_failed" in caplog.messages


# -- stopping ----------------------------------------------------------------------------------------------------


def test_a_stop_gives_back_what_costs_nothing() -> None:
    """B10: first signal: claim nothing more, release the leases."""
    lane = ScriptedLane("abc", window=2)
    lane.hold("a", "b")
    lane.on_perform["b"] = lane.stop.request
    lane.drain()
    assert sorted(lane.released) == ["a", "b"]
    assert (lane.written, lane.due) == ([], ["c"])


def test_a_stop_keeps_what_had_already_ended() -> None:
    """A download that is done is not thrown away with those that are not."""
    lane = ScriptedLane("ab")
    lane.hold("a", "b")

    def end_a_and_stop() -> None:
        lane.mailbox.wake()
        if lane.claim_count == 2:
            lane.finish("a")
            lane.let_loop_settle()
            lane.stop.request()

    lane.on_claim = end_a_and_stop
    lane.drain()
    assert lane.written == ["a"]
    assert lane.released == ["b"]


def test_a_stop_waits_for_paid_calls() -> None:
    """B10: paid calls in flight finish and are written; nothing new is begun."""
    lane = ScriptedLane("abc", window=2, renew_every_seconds=PAID)
    lane.hold("a")
    lane.on_perform["b"] = lane.stop.request
    lane.on_apply = lambda: None if lane.slow["a"].done() else lane.finish("a")
    lane.drain()
    assert sorted(lane.written) == ["a", "b"]
    assert (lane.released, lane.due) == ([], ["c"])


def test_a_stop_waits_for_what_another_has_taken_note_of() -> None:
    """A delivery under a lease ends as a paid call does, and an abort gives it back: a receiver hears it once."""
    lane = ScriptedLane("abc", window=2, renew_every_seconds=20.0)
    lane.finishes_when_stopped = True
    lane.hold("a")
    lane.on_perform["b"] = lane.stop.request
    lane.on_apply = lambda: None if lane.slow["a"].done() else lane.finish("a")
    lane.drain()
    assert sorted(lane.written) == ["a", "b"]
    assert lane.released == []
    aborted = ScriptedLane("a", renew_every_seconds=20.0)
    aborted.finishes_when_stopped = True
    aborted.hold("a")
    aborted.on_perform["a"] = aborted.stop.abort
    aborted.drain()
    assert (aborted.written, aborted.released) == ([], ["a"])


def test_an_abort_gives_up_paid_calls_too() -> None:
    """The second Ctrl-C: those jobs are held by whoever settles what this process left."""
    lane = ScriptedLane("a", renew_every_seconds=PAID)
    lane.hold("a")
    lane.on_perform["a"] = lane.stop.abort
    lane.drain()
    assert (lane.written, lane.released) == ([], [])
    assert lane.cancelled == ["a"]


@pytest.mark.parametrize("renew_every_seconds", [PAID, 20.0])
def test_an_abort_ends_while_the_database_is_away(renew_every_seconds: float | None) -> None:
    """One try to write, and out: a paid answer lies in the journal."""
    lane = ScriptedLane("a", renew_every_seconds=renew_every_seconds)

    def fail() -> None:
        lane.stop.abort()
        raise DATABASE_AWAY

    lane.on_apply = fail
    lane.drain()
    assert lane.written == []


def test_a_release_that_fails_does_not_keep_a_stop_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    """The leases will lapse."""
    lane = ScriptedLane("a")
    lane.hold("a")
    lane.on_perform["a"] = lane.stop.request

    def fail() -> None:
        raise DATABASE_AWAY

    lane.on_release = fail
    lane.drain()
    assert "release_failed" in caplog.messages


def test_a_stop_before_the_start_claims_nothing() -> None:
    """A worker that is told to end while it begins."""
    lane = ScriptedLane("a")
    lane.stop.request()
    lane.drain()
    assert lane.claim_count == 0
