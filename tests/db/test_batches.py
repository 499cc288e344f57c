"""Batches: intake that can be repeated, membership, the end of a batch and its reopening."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text, update

from orchestrator.db.batch_sums import BATCHES
from orchestrator.db.rows import JOBS
from orchestrator.domain.decide import decide_cancel
from orchestrator.domain.errors import Conflict, NotFound, Permanent
from orchestrator.domain.outcomes import Rejected, TaskAccepted
from orchestrator.domain.states import State
from tests.db.driver import Driver
from tests.db.test_plans import explained
from tests.factories import HOUR, make_batch, make_new_job
from tests.fixtures.clock import START


class TestIntake:
    """A killed intake is repeated whole and lands once."""

    def test_a_batch_comes_back_as_it_was_created(self, driver: Driver) -> None:
        batch = make_batch(line_count=3)
        driver.batches.create(batch)
        assert driver.batches.get(batch.id) == batch
        driver.batches.finish_intake(batch.id)
        assert driver.batches.get(batch.id) == replace(batch, is_intake_done=True)

    def test_an_unknown_batch_is_not_found(self, driver: Driver) -> None:
        with pytest.raises(NotFound):
            driver.batches.get("batch_none")
        with pytest.raises(NotFound):
            driver.batches.add_jobs("batch_none", [make_new_job()], actor="local")

    def test_lines_that_are_there_are_left_alone(self, driver: Driver) -> None:
        batch = make_batch()
        driver.batches.create(batch)
        first = [make_new_job(line_number=n) for n in (1, 2)]
        again = [make_new_job(line_number=n) for n in (1, 2, 3)]
        assert driver.batches.add_jobs(batch.id, first, actor="local") == 2
        assert driver.batches.add_jobs(batch.id, again, actor="local") == 1
        members = driver.batches.list_members(batch.id)
        assert [m.job_id for m in members] == [first[0].id, first[1].id, again[2].id]

    def test_no_line_comes_in_once_the_cancellation_was_asked_for(self, driver: Driver) -> None:
        """Looked at under the batch's lock: whoever cancels afterwards finds every job that came in."""
        batch = make_batch()
        driver.batches.create(batch)
        (theirs,) = driver.add_many(1)
        with driver.database.begin_write() as connection:
            connection.execute(update(BATCHES).values(cancel_requested_at=START))
        links = [(2, "x", theirs)]
        assert driver.batches.add_jobs(batch.id, [make_new_job(line_number=1)], actor="local", links=links) == 0
        assert driver.batches.find_last_line(batch.id) == 0

    def test_jobs_and_links_come_in_together(self, driver: Driver) -> None:
        """The last line that is in is a checkpoint only if every line before it is in as well."""
        batch = make_batch()
        driver.batches.create(batch)
        (theirs,) = driver.add_many(1)
        mine = make_new_job(line_number=2)
        with pytest.raises(Permanent):
            driver.batches.add_jobs(batch.id, [mine, mine], actor="local", links=[(1, "x", theirs)])
        assert driver.batches.find_last_line(batch.id) == 0
        assert driver.batches.add_jobs(batch.id, [mine], actor="local", links=[(1, "x", theirs)]) == 1
        assert [member.job_id for member in driver.batches.list_members(batch.id)] == [theirs, mine.id]
        assert driver.batches.find_last_line(batch.id) == 2

    def test_a_job_comes_back_as_it_was_accepted(self, driver: Driver) -> None:
        new = make_new_job(tags={"campaign": "spring"}, priority=7, not_before=START + HOUR, owner="ann")
        batch = driver.add(new)
        job = driver.get(new.id)
        assert (job.body, job.input, job.tags) == (new.body, new.input, new.tags)
        assert (job.priority, job.owner, job.price) == (7, "ann", new.price)
        assert (job.batch_id, job.line_number, job.custom_id) == (batch.id, 1, new.custom_id)
        assert (job.created_at, job.due_at) == (START, START + HOUR)
        (event,) = driver.history.list_events(new.id)
        assert (event.type, event.sequence, event.from_state) == ("accepted", 1, None)

    def test_the_newest_batch_of_an_identity_is_found(self, driver: Driver) -> None:
        older, newer = (make_batch(identity_sha256="f" * 64, generation=number) for number in (1, 2))
        for batch in (older, newer):
            driver.batches.create(batch)
        found = driver.batches.find_newest("f" * 64, "sandbox")
        assert found is not None
        assert found.id == newer.id
        assert driver.batches.find_newest("f" * 64, "https://api.z.ai") is None

    def test_the_newest_is_the_highest_generation(self, driver: Driver) -> None:
        """A host whose clock is behind makes an id that sorts before the one it follows."""
        second, first = (make_batch(identity_sha256="f" * 64, generation=number) for number in (2, 1))
        for batch in (second, first):
            driver.batches.create(batch)
        found = driver.batches.find_newest("f" * 64, "sandbox")
        assert found is not None
        assert (found.id, second.id < first.id) == (second.id, True)

    def test_a_second_process_with_the_same_file_is_told(self, driver: Driver) -> None:
        """Promise 2: two that take one file at once make one batch, or they would pay twice."""
        first, second = (make_batch(identity_sha256="e" * 64) for _ in range(2))
        driver.batches.create(first)
        with pytest.raises(Conflict):
            driver.batches.create(second)
        found = driver.batches.find_newest("e" * 64, "sandbox")
        assert found is not None
        assert found.id == first.id

    def test_members_are_listed_in_input_order_page_by_page(self, driver: Driver) -> None:
        jobs = [make_new_job() for _ in range(5)]
        batch = driver.add(*jobs)
        first = driver.batches.list_members(batch.id, limit=3)
        rest = driver.batches.list_members(batch.id, after_line=first[-1].line_number)
        assert [m.job_id for m in (*first, *rest)] == [job.id for job in jobs]
        assert first[0].body_sha256 == jobs[0].body_sha256


def forget_statistics(driver: Driver) -> None:
    """Let the planner know what it knows of tables that nobody has analyzed: other tests have used these."""
    if driver.database.is_sqlite:
        return
    names = {"names": ["jobs", "batches", "batch_members"]}
    with driver.database.begin_write() as connection:
        connection.execute(text("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname = ANY(:names)"), names)
        connection.execute(
            text("DELETE FROM pg_statistic USING pg_class c WHERE starelid = c.oid AND c.relname = ANY(:names)"), names
        )


class TestEqualJobs:
    """Lines of a changed file that equal earlier jobs reuse them."""

    def test_equal_means_custom_id_body_and_environment(self, driver: Driver) -> None:
        job = make_new_job()
        driver.add(job)
        key = (job.custom_id or "", job.body_sha256)
        wanted = [key, ("other", job.body_sha256), (job.custom_id or "", "f" * 64)]
        assert driver.batches.find_equal("sandbox", wanted) == {key: job.id}
        assert driver.batches.find_equal("https://api.z.ai", wanted) == {}
        assert driver.batches.find_equal("sandbox", []) == {}

    def test_the_newest_wins_and_a_batchs_own_can_be_left_out(self, driver: Driver) -> None:
        older = make_new_job(custom_id="x", body_sha256="e" * 64)
        newer = make_new_job(custom_id="x", body_sha256="e" * 64)
        driver.add(older)
        batch = driver.add(newer)
        key = ("x", "e" * 64)
        assert driver.batches.find_equal("sandbox", [key]) == {key: newer.id}
        assert driver.batches.find_equal("sandbox", [key], outside=batch.id) == {key: older.id}

    @pytest.mark.parametrize("is_failed_newer", [True, False])
    def test_what_came_furthest_answers_and_not_the_newest(self, driver: Driver, is_failed_newer: bool) -> None:
        """A line whose picture is there is not answered by a later try that was refused; that answers only alone."""
        key = ("x", "e" * 64)
        order = [make_new_job(custom_id="x", body_sha256="e" * 64) for _ in range(2)]
        failed, good = reversed(order) if is_failed_newer else order
        driver.add(failed)
        driver.report(driver.claim_one(), Rejected("1301", "no"))
        assert driver.batches.find_equal("sandbox", [key]) == {key: failed.id}
        driver.add(good)
        assert driver.batches.find_equal("sandbox", [key]) == {key: good.id}

    def test_a_job_that_was_cancelled_before_any_call_answers_nothing(self, driver: Driver) -> None:
        """It made nothing, and a line that it answered would never run."""
        key = ("x", "e" * 64)
        job = make_new_job(custom_id="x", body_sha256="e" * 64)
        driver.add(job)
        with driver.database.begin_write() as connection:
            gone = update(JOBS).where(JOBS.c.id == job.id)
            now = driver.clock.now()
            connection.execute(gone.values(state=State.CANCELLED, due_at=None, finished_at=now))
        assert driver.batches.find_equal("sandbox", [key]) == {}

    @pytest.mark.plans
    def test_each_line_is_looked_up_by_its_name(self, driver: Driver) -> None:
        """Without statistics, as in a first file: to read the batch for each of its chunks took its square of time."""
        driver.add(*[make_new_job() for _ in range(600)])
        forget_statistics(driver)
        with explained(driver.database) as plans:
            driver.batches.find_equal("sandbox", [("x", "e" * 64)], outside="batch_x")
        (plan,) = plans
        assert "ix_batch_members_custom_id" in plan, plan
        for line in ("ix_batch_members_linked_from", "pk_batch_members", "SCAN batch_members", "SCAN jobs"):
            assert line not in plan, plan
        assert "ix_jobs_owner" not in plan, f"every job of the owner is read for each line:\n{plan}"

    def test_membership_finds_linked_jobs_too(self, driver: Driver) -> None:
        """A job linked into another environment equals lines there."""
        job = make_new_job(custom_id="x")
        driver.add(job)
        other = driver.add(batch=make_batch(environment="elsewhere"))
        driver.batches.link_existing(other.id, [(1, "x", job.id)])
        key = ("x", job.body_sha256)
        assert driver.batches.find_equal("elsewhere", [key]) == {key: job.id}

    def test_linking_twice_is_linking_once(self, driver: Driver) -> None:
        job = make_new_job()
        driver.add(job)
        other = driver.add()
        for _ in range(2):
            driver.batches.link_existing(other.id, [(1, "x", job.id)])
        assert driver.batches.count_states(other.id).by_state == {"queued": 1}


class TestEnd:
    """Finished when nothing is active; held jobs do not keep it open; woken jobs open it again."""

    def test_it_is_announced_once(self, driver: Driver) -> None:
        batch = driver.add(make_new_job())
        assert driver.batches.finish_done() == []
        driver.report(driver.claim_one(), Rejected("1214", "no"))
        assert driver.batches.finish_done() == [batch.id]
        assert driver.batches.finish_done() == []
        assert driver.batches.get(batch.id).finished_at == START

    def test_a_batch_whose_intake_runs_is_not_finished(self, driver: Driver) -> None:
        driver.batches.create(make_batch())
        assert driver.batches.finish_done() == []

    def test_held_jobs_do_not_keep_it_open(self, driver: Driver) -> None:
        held = driver.add_held()
        assert driver.batches.finish_done() == [held.batch_id]

    def test_linked_jobs_keep_it_open(self, driver: Driver) -> None:
        """Membership counts, not jobs.batch_id."""
        (job_id,) = driver.add_many(1)
        mine = driver.add()
        driver.batches.link_existing(mine.id, [(1, "x", job_id)])
        assert driver.batches.finish_done() == []
        driver.jobs.transact(job_id, decide_cancel, actor="ann", reason="")
        assert mine.id in driver.batches.finish_done()

    def test_late_truth_opens_every_batch_of_the_job_again(self, driver: Driver) -> None:
        held = driver.add_held()
        other = driver.add()
        driver.batches.link_existing(other.id, [(1, "x", held.id)])
        assert len(driver.batches.finish_done()) == 2
        driver.report_late(held.submissions[0].id, TaskAccepted("task-1"))
        for batch_id in (held.batch_id or "", other.id):
            assert driver.batches.get(batch_id).finished_at is None
        assert driver.batches.finish_done() == []

    def test_opening_again_is_no_new_generation(self, driver: Driver) -> None:
        """A new generation means that the file is paid for anew: only a person makes one."""
        held = driver.add_held()
        driver.batches.finish_done()
        driver.report_late(held.submissions[0].id, TaskAccepted("task-1"))
        assert driver.batches.get(held.batch_id or "").generation == 1


def test_states_are_counted_over_members(driver: Driver) -> None:
    """What progress shows: own and linked members per state."""
    mine = driver.add(make_new_job(), make_new_job())
    driver.report(driver.claim_one(slots={"*": 1}), Rejected("1214", "no"))
    driver.add_many(3)
    counts = driver.batches.count_states(mine.id)
    assert (counts.by_state, counts.total) == ({"queued": 1, "failed": 1}, 2)


def test_unpaid_members_are_priced(driver: Driver) -> None:
    """What running the batch may still cost: queued and never submitted."""
    batch = driver.add(make_new_job(), make_new_job(), make_new_job(price=None))
    driver.claim_one(slots={"*": 1})
    cost = driver.batches.price_unpaid(batch.id)
    assert (cost.micros, cost.unpriced_count) == (200_000, 1)
