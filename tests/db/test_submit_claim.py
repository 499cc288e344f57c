"""The submit claim: intent is a commit, slots are counted from rows, turns are fair."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.db import submit_claim
from orchestrator.db.rows import SUBMISSIONS
from orchestrator.domain.job import Price
from orchestrator.domain.outcomes import (
    AnswerComplete,
    FailedAtSubmit,
    NotSent,
    OutputsReady,
    ProviderFailed,
    Rejected,
    TaskAccepted,
    Unknown,
)
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from tests.db.driver import Driver
from tests.factories import HOUR, make_draft, make_new_job, make_window
from tests.fixtures.clock import START

REFUSAL = NotSent("connect_timeout", "nothing left")


def test_claim_commits_the_intent(driver: Driver) -> None:
    """After the claim the submission stands in the ledger, before anything is sent."""
    (job_id,) = driver.add_many(1, price=Price(200_000, "USD", "2026-11"))
    row = driver.claim_one(process="host-7")
    stored = driver.row(SUBMISSIONS, row.submission.id)
    assert (row.job.id, row.job.state, row.submission.number) == (job_id, State.SUBMITTING, 1)
    assert (stored["process"], stored["verdict"], stored["price_micros"]) == ("host-7", None, 200_000)
    assert stored["body_sha256"] == row.job.body_sha256
    assert stored["assumed_life_until"] == START + HOUR
    assert driver.get(job_id).due_at == START + timedelta(seconds=120)
    assert driver.events(job_id) == ["accepted", "submission_started"]


def test_a_claim_that_dies_before_its_commit_never_was(driver: Driver) -> None:
    """A1: killed before the intent is committed: still queued, still due, no submission; the next claim takes it."""
    (job_id,) = driver.add_many(1)
    taken: list[str] = []

    def claim_and_die() -> None:
        with driver.database.begin_write() as connection:
            rows, _ = submit_claim.claim_submissions(connection, make_window(), database=driver.database)
            taken.extend(row.job.id for row in rows)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claim_and_die()
    assert taken == [job_id]
    assert (driver.state(job_id), driver.rows(SUBMISSIONS)) == (State.QUEUED, [])
    assert driver.jobs.find_next_due(LaneName.SUBMIT) == START
    assert driver.claim_one().submission.number == 1


def test_lease_is_the_deadline_of_the_jobs_kind_and_the_margin(driver: Driver) -> None:
    """Rows of one claim lapse by their own kind's deadline."""
    (video,), (image,) = driver.add_many(1), driver.add_many(1, kind="image", model="glm-image")
    claim = driver.jobs.claim_submissions(make_window(margin=timedelta(seconds=10)))
    due = {row.job.id: row.job.due_at for row in claim.rows}
    assert due == {video: START + timedelta(seconds=70), image: START + timedelta(seconds=190)}
    assert claim.lease == timedelta(seconds=190)


def test_boottime_is_read_before_the_first_statement(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zombie check counts time spent waiting for locks too."""
    before = driver.clock.boottime()
    real = driver.clock.now

    def slow_database() -> object:
        driver.clock.advance(timedelta(seconds=30))
        return real()

    driver.add_many(1)
    monkeypatch.setattr(driver.clock, "now", slow_database)
    assert driver.jobs.claim_submissions(make_window()).boottime == before


def test_no_more_than_the_free_slots_are_taken(driver: Driver) -> None:
    """Each model has its own limit; `*` speaks for the rest."""
    driver.add_many(9)
    driver.add_many(9, model="cogview-4", kind="image")
    slots = {"cogvideox-3": 3, "*": 2}
    models = sorted(row.job.model for row in driver.claim(slots=slots))
    assert models == ["cogvideox-3"] * 3 + ["cogview-4"] * 2
    assert driver.claim(slots=slots) == ()


def test_window_and_cap_over_all_models_bound_a_claim(driver: Driver) -> None:
    """`limit` bounds one claim, `total_slots` what is in flight over all models."""
    driver.add_many(9)
    driver.add_many(9, model="cogview-4", kind="image")
    assert len(driver.claim(limit=2)) == 2
    assert len(driver.claim(total_slots=5)) == 3
    assert driver.claim(total_slots=5) == ()


def test_jobs_wait_for_their_time(driver: Driver) -> None:
    """not_before holds a job back, and the look ahead says until when."""
    driver.add_many(1, not_before=START + HOUR)
    assert driver.claim() == ()
    assert driver.jobs.find_next_due(LaneName.SUBMIT) == START + HOUR
    driver.clock.advance(HOUR)
    assert len(driver.claim()) == 1


def test_look_ahead_leaves_out_models_without_slots(driver: Driver) -> None:
    """A full model is not due work: the drain must not spin."""
    driver.add_many(2)
    window = make_window(slots={"*": 1})
    assert driver.jobs.find_next_due(LaneName.SUBMIT, window=window) == START
    driver.claim(slots={"*": 1})
    assert driver.jobs.find_next_due(LaneName.SUBMIT, window=window) is None
    assert driver.jobs.find_next_due(LaneName.SUBMIT) == START


class TestTurns:
    """Priority, then round robin over batches and owners, then due_at and id."""

    def test_priority_comes_first(self, driver: Driver) -> None:
        low, high = driver.add_many(2, priority=2), driver.add_many(2, priority=8)
        assert [row.job.id for row in driver.claim(slots={"*": 3})] == [*high, low[0]]

    def test_batches_take_turns_within_a_claim(self, driver: Driver) -> None:
        first, second = driver.add_many(5), driver.add_many(5)
        taken = [row.job.id for row in driver.claim(slots={"*": 4})]
        assert taken == [first[0], second[0], first[1], second[1]]

    def test_batches_take_turns_from_claim_to_claim(self, driver: Driver) -> None:
        """With one slot the longest unserved batch is next, however large the others are."""
        first, second, third = driver.add_many(9), driver.add_many(9), driver.add_many(9)
        taken = []
        for _ in range(6):
            row = driver.claim_one(slots={"*": 1})
            taken.append(row.job.id)
            driver.report(row, Rejected("1214", "no"))
            driver.clock.advance(timedelta(seconds=1))
        assert taken == [first[0], second[0], third[0], first[1], second[1], third[1]]

    def test_a_small_batch_leaves_its_turns_to_the_rest(self, driver: Driver) -> None:
        small, large = driver.add_many(1), driver.add_many(5)
        taken = {row.job.id for row in driver.claim(slots={"*": 4})}
        assert taken == {*small, *large[:3]}

    def test_within_a_batch_the_longest_due_goes_first(self, driver: Driver) -> None:
        late, soon = (make_new_job(not_before=START + timedelta(seconds=s)) for s in (20, 10))
        driver.add(late, soon)
        driver.clock.advance(HOUR)
        assert [row.job.id for row in driver.claim()] == [soon.id, late.id]

    def test_a_key_whose_first_job_is_not_due_is_passed_over(self, driver: Driver) -> None:
        driver.add_many(1, priority=9, not_before=START + HOUR)
        (due,) = driver.add_many(1)
        assert [row.job.id for row in driver.claim()] == [due]


class TestBatchWindow:
    """A run submits only the members of its own batch."""

    def test_other_batches_are_left_alone(self, driver: Driver) -> None:
        driver.add_many(3, priority=9)
        mine = driver.add(make_new_job(), make_new_job())
        rows = driver.claim(batch_id=mine.id)
        assert {row.job.batch_id for row in rows} == {mine.id}
        assert driver.jobs.find_next_due(LaneName.SUBMIT, batch_id=mine.id) is None

    def test_linked_jobs_are_members_too(self, driver: Driver) -> None:
        """Membership, not jobs.batch_id, is what counts."""
        theirs = driver.add_many(3)
        mine = driver.add()
        driver.batches.link_existing(mine.id, [(1, "scene", theirs[1])])
        assert [row.job.id for row in driver.claim(batch_id=mine.id)] == [theirs[1]]


class TestSlots:
    """A slot is held from intent to a proof that it is free (design section 7)."""

    @pytest.mark.parametrize("outcome", [REFUSAL, Rejected("1214", "no"), FailedAtSubmit(None, "FAIL")])
    def test_a_refusal_or_a_final_answer_frees_it(self, driver: Driver, outcome: NotSent) -> None:
        driver.add_many(2)
        driver.report(driver.claim_one(slots={"*": 1}), outcome)
        assert len(driver.claim(slots={"*": 1})) == 1

    @pytest.mark.parametrize("outcome", [TaskAccepted("task-1"), Unknown("read_timeout", "no answer")])
    def test_a_task_and_an_unknown_hold_it(self, driver: Driver, outcome: TaskAccepted) -> None:
        driver.add_many(2)
        driver.report(driver.claim_one(slots={"*": 1}), outcome)
        assert driver.claim(slots={"*": 1}) == ()

    def test_a_whole_answer_frees_it_at_once(self, driver: Driver) -> None:
        driver.add_many(2, kind="image", model="cogview-4")
        driver.report(driver.claim_one(slots={"*": 1}), AnswerComplete((make_draft(),)))
        assert len(driver.claim(slots={"*": 1})) == 1

    @pytest.mark.parametrize("outcome", [OutputsReady((make_draft(),)), ProviderFailed("1301", "no")])
    def test_the_providers_final_answer_frees_it(self, driver: Driver, outcome: OutputsReady) -> None:
        job = driver.add_processing()
        driver.add_many(1)
        assert driver.claim(slots={"*": 1}) == ()
        driver.finish_poll(job.id, outcome)
        assert len(driver.claim(slots={"*": 1})) == 1

    def test_an_unknown_frees_it_after_the_assumed_life(self, driver: Driver) -> None:
        """G2: a worker that was killed with a slot in hand does not take it along for ever."""
        driver.add_held()
        driver.add_many(1)
        driver.clock.advance(HOUR - timedelta(seconds=1))
        assert driver.claim(slots={"*": 1}) == ()
        driver.clock.advance(timedelta(seconds=1))
        assert len(driver.claim(slots={"*": 1})) == 1

    def test_a_task_being_polled_holds_it_beyond_the_assumed_life(self, driver: Driver) -> None:
        """Promise 5: a slow task is not assumed dead while somebody asks about it."""
        driver.add_processing()
        driver.add_many(1)
        driver.clock.advance(5 * HOUR)
        assert driver.claim(slots={"*": 1}) == ()

    def test_during_call_rule_counts_calls_only(self, driver: Driver) -> None:
        """ORCHESTRATOR_SLOT_RULE=during_call: any verdict frees the slot."""
        driver.add_many(3)
        row = driver.claim_one(slots={"*": 1}, is_slot_held_until_final=False)
        assert driver.claim(slots={"*": 1}, is_slot_held_until_final=False) == ()
        driver.report(row, TaskAccepted("task-1"))
        assert len(driver.claim(slots={"*": 1}, is_slot_held_until_final=False)) == 1


class TestUnknownStop:
    """Too many unknowns in an hour stop submitting before they stop anything else."""

    def test_it_stops_and_goes_on_when_the_count_falls(self, driver: Driver) -> None:
        driver.add_held()
        driver.clock.advance(HOUR / 2)
        driver.add_held()
        driver.add_many(1)
        assert driver.claim(max_unknown_per_hour=2) == ()
        driver.clock.advance(HOUR / 2)
        assert len(driver.claim(max_unknown_per_hour=2)) == 1

    def test_an_unknown_that_was_explained_no_longer_counts(self, driver: Driver) -> None:
        held = driver.add_held()
        driver.add_many(1)
        driver.report_late(held.submissions[0].id, TaskAccepted("task-1"))
        assert len(driver.claim(max_unknown_per_hour=1)) == 1


def test_submitting_rows_are_never_claimed_again(driver: Driver) -> None:
    """A lapsed lease is the sweep's to explain; a second submission would pay twice."""
    driver.add_many(1)
    row = driver.claim_one()
    driver.clock.advance(HOUR)
    assert driver.claim() == ()
    assert [r.submission.id for r in driver.jobs.find_lapsed_submissions(limit=9)] == [row.submission.id]


def test_a_dead_processs_submissions_are_found(driver: Driver) -> None:
    """The journal sweep asks by the process's name, before any lease has lapsed."""
    driver.add_many(2)
    mine = driver.claim_one(slots={"*": 1}, process="host-1")
    driver.claim(slots={"*": 2}, process="host-2")
    assert [row.submission for row in driver.jobs.find_submissions_of("host-1")] == [mine.submission]
    driver.report(mine, TaskAccepted("task-1"))
    assert driver.jobs.find_submissions_of("host-1") == ()


def test_a_resubmission_is_a_second_row(driver: Driver) -> None:
    """The ledger keeps every try with its own number and id."""
    (job_id,) = driver.add_many(1)
    driver.report(driver.claim_one(), REFUSAL)
    driver.clock.advance(HOUR)
    second = driver.claim_one()
    numbers = [s.number for s in driver.get(job_id).submissions]
    assert numbers == [1, 2]
    assert second.submission.number == second.job.submission_count == 2


def test_credentials_do_not_share_slots(driver: Driver) -> None:
    """Slots and turns are counted per credential."""
    driver.add_many(2)
    driver.add(replace(make_new_job(), credential="second"))
    assert len(driver.claim(slots={"*": 1})) == 1
    assert len(driver.claim(slots={"*": 1}, credential="second")) == 1
