"""Budgets: what a batch's jobs cost or may cost never exceeds what was allowed (A20)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Select, event

from orchestrator.db import budgets
from orchestrator.db.rows import SUBMISSIONS
from orchestrator.db.rowset import encode_keys
from orchestrator.db.tables import MAY_BE_CHARGED
from orchestrator.domain.decide import Decision, JobPatch
from orchestrator.domain.job import SURE_REFUSALS, Job, NewJob, Price
from orchestrator.domain.outcomes import (
    FailedAtSubmit,
    NotSent,
    ProviderFailed,
    Rejected,
    SubmitOutcome,
    TaskAccepted,
    Unknown,
)
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State, Trigger
from tests.db.driver import Driver
from tests.factories import HOUR, make_batch, make_new_job, make_window

THREADS = 8
ROOMY = {"*": 1000}


def priced(micros: int | None, **changes: object) -> NewJob:
    return make_new_job(price=None if micros is None else Price(micros, "USD", "2026-11"), **changes)


def add(driver: Driver, budget: int | None, *jobs: NewJob) -> str:
    return driver.add(*jobs, batch=make_batch(max_cost_micros=budget)).id


def charged(driver: Driver, batch_id: str) -> int:
    """Add up the ledger itself."""
    rows = driver.rows(SUBMISSIONS, SUBMISSIONS.c.fair_key == batch_id)
    return sum(row["price_micros"] or 0 for row in rows if row["verdict"] not in {*SURE_REFUSALS})


def next_due(driver: Driver) -> object:
    return driver.jobs.find_next_due(LaneName.SUBMIT, window=make_window(slots=ROOMY))


def test_the_index_speaks_of_every_verdict_that_is_free() -> None:
    """A sure refusal that the condition forgot would hold money for ever."""
    named = ", ".join(f"'{verdict}'" for verdict in sorted(SURE_REFUSALS))
    assert f"verdict IS NULL OR verdict NOT IN ({named})" == MAY_BE_CHARGED


def test_claims_stop_at_the_cap_and_the_rest_is_not_due(driver: Driver) -> None:
    """A20: to the micro-unit; what does not fit is no work, so that nobody spins; other batches go on."""
    mine = add(driver, 10, *[priced(4) for _ in range(5)])
    assert len(driver.claim(slots=ROOMY)) == 2
    assert charged(driver, mine) == 8
    assert driver.claim(slots=ROOMY) == ()
    assert next_due(driver) is None
    add(driver, None, priced(100))
    assert next_due(driver) is not None
    assert len(driver.claim(slots=ROOMY)) == 1


def test_eight_claims_at_once_on_a_cap_of_ten(driver: Driver) -> None:
    """A20: concurrent claims, small windows, several models: exactly ten are taken, and never one more."""
    models = ("cogvideox-3", "viduq1-text", "glm-image")
    mine = add(driver, 10, *[priced(1, model=models[n % 3]) for n in range(40)])

    def work(_: int) -> int:
        taken = 0
        while rows := driver.claim(slots=ROOMY, limit=2):
            taken += len(rows)
            assert charged(driver, mine) <= 10
        return taken

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(work, range(THREADS))) == 10
    assert charged(driver, mine) == 10


def test_two_credentials_share_the_budget_of_one_batch(driver: Driver) -> None:
    """The credential's lock is not enough: the batch's own is what two keys meet at."""
    mine = add(driver, 10, *[priced(1, credential=f"key-{n % 4}") for n in range(80)])

    def work(number: int) -> int:
        taken = 0
        while rows := driver.claim(slots=ROOMY, limit=1, credential=f"key-{number % 4}"):
            taken += len(rows)
        return taken

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(work, range(THREADS))) == 10
    assert charged(driver, mine) == 10


@pytest.mark.parametrize("outcome", [TaskAccepted("t"), Unknown("read_timeout", "x"), FailedAtSubmit(None, "FAIL")])
def test_what_may_have_been_charged_counts(driver: Driver, outcome: SubmitOutcome) -> None:
    """A task, an unknown and a FAIL are money: nobody can say that they cost nothing."""
    add(driver, 10, priced(6), priced(6))
    driver.report(driver.claim_one(slots=ROOMY), outcome)
    assert driver.claim(slots=ROOMY) == ()


def test_a_providers_fail_counts(driver: Driver) -> None:
    """The charge of a failed task is unknown."""
    batch = make_batch(max_cost_micros=10)
    driver.add(priced(6), priced(6), batch=batch)
    row = driver.claim_one(slots=ROOMY)
    driver.report(row, TaskAccepted("t"))
    driver.finish_poll(row.job.id, ProviderFailed("1301", "no"))
    assert driver.claim(slots=ROOMY) == ()


@pytest.mark.parametrize("outcome", [NotSent("connect_timeout", "x"), Rejected("1214", "no")])
def test_a_sure_refusal_frees_the_money(driver: Driver, outcome: SubmitOutcome) -> None:
    """What surely cost nothing is room for another job, and the look ahead says so."""
    add(driver, 10, priced(6), priced(6))
    row = driver.claim_one(slots=ROOMY)
    assert next_due(driver) is None
    driver.report(row, outcome)
    assert next_due(driver) is not None
    driver.clock.advance(HOUR)
    assert len(driver.claim(slots=ROOMY)) == 1


def test_an_unknown_that_was_superseded_still_counts(driver: Driver) -> None:
    """Resubmissions claim the same way: the first call may have been charged, so there is no room for a second."""
    batch = make_batch(max_cost_micros=10)
    driver.add(priced(6), batch=batch)
    row = driver.claim_one(slots=ROOMY)
    driver.report(row, Unknown("read_timeout", "x"))

    def again(job: Job, _now: object) -> Decision:
        patch = JobPatch()
        return Decision(job.state, Trigger.RESUBMIT, State.QUEUED, driver.clock.now(), "", patch, supersedes=True)

    driver.jobs.transact(row.job.id, again, actor="policy", reason="")
    driver.clock.advance(HOUR)
    assert driver.rows(SUBMISSIONS)[0]["superseded_at"] is not None
    assert (driver.claim(slots=ROOMY), next_due(driver)) == ((), None)
    driver.batches.set_budget(batch.id, 12)
    assert driver.claim_one(slots=ROOMY).submission.number == 2
    assert charged(driver, batch.id) == 12


def test_a_budget_can_be_set_raised_and_lowered(driver: Driver) -> None:
    """What was agreed to before stands; what comes after holds to the new number."""
    batch = driver.batches.get(add(driver, None, *[priced(1) for _ in range(9)]))
    assert len(driver.claim(slots=ROOMY, limit=4)) == 4
    driver.batches.set_budget(batch.id, 3)
    assert driver.claim(slots=ROOMY) == ()
    driver.batches.set_budget(batch.id, 6)
    assert len(driver.claim(slots=ROOMY)) == 2
    assert driver.batches.get(batch.id).max_cost_micros == 6


def test_a_job_without_a_price_is_never_taken_under_a_budget(driver: Driver) -> None:
    """What it will cost cannot be held to a limit."""
    add(driver, 10, priced(None))
    assert (driver.claim(slots=ROOMY), next_due(driver)) == ((), None)


def test_what_is_left_is_shared_by_the_models_of_a_batch(driver: Driver) -> None:
    """Each head fits by itself; both together do not."""
    mine = add(driver, 10, priced(6, model="a"), priced(6, model="b"))
    assert len(driver.claim(slots=ROOMY)) == 1
    assert charged(driver, mine) == 6


def test_nothing_overtakes_a_dearer_job_of_its_batch_within_one_claim(driver: Driver) -> None:
    """Claimed together or one by one, the same jobs go: the second, which does not fit, keeps the third behind it. Other
    models and priorities of the batch go on.
    """
    first, dear, cheap = priced(6), priced(8), priced(2)
    other, lower = priced(1, model="glm-image"), priced(1, priority=1)
    mine = add(driver, 10, first, dear, cheap, other, lower)
    taken = {row.job.id for row in driver.claim(slots=ROOMY)}
    assert taken == {first.id, other.id, lower.id}
    assert charged(driver, mine) == 8
    assert (driver.claim(slots=ROOMY), next_due(driver)) == ((), None)
    driver.batches.set_budget(mine, 16)
    assert [row.job.id for row in driver.claim(slots=ROOMY)] == [dear.id]


def test_what_was_charged_is_told_with_what_is_still_to_come(driver: Driver) -> None:
    """What a second run of the file is judged by."""
    mine = add(driver, None, priced(6), priced(5))
    driver.claim_one(slots=ROOMY, limit=1)
    cost = driver.batches.price_unpaid(mine)
    assert (cost.micros, cost.charged_micros, cost.total_micros) == (5, 6, 11)


def test_claims_without_budgets_ask_nothing_more(driver: Driver) -> None:
    """Two statements of the first claim that meets a budget, the batch's lock and the sum, and two about prices."""
    add(driver, None, *[priced(1) for _ in range(9)])
    driver.claim(slots=ROOMY, limit=1)
    plain = count_statements(driver)
    add(driver, 100, *[priced(1) for _ in range(9)])
    assert count_statements(driver) == plain + 4


def count_statements(driver: Driver) -> int:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(driver.database.engine, "before_cursor_execute", note)
    assert len(driver.claim(slots=ROOMY, limit=1)) == 1
    event.remove(driver.database.engine, "before_cursor_execute", note)
    return len(statements)


@pytest.mark.parametrize("which", [budgets._charged_query, budgets._charged_below_query])
@pytest.mark.plans
def test_the_sum_is_read_from_its_index(driver: Driver, which: Callable[[bool], Select[str, int]]) -> None:
    """A long batch's ledger is added up in every claim of it, under the credential's lock: never from the table."""
    batch_id = add(driver, 10**9, *[priced(1) for _ in range(3)])
    driver.claim(slots=ROOMY)
    query = which(driver.database.is_sqlite)
    with driver.database.begin_write() as connection:
        compiled = query.compile(connection, compile_kwargs={"render_postcompile": True})
        if not driver.database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        command = "EXPLAIN QUERY PLAN" if driver.database.is_sqlite else "EXPLAIN"
        given = compiled.construct_params({"ids": encode_keys([batch_id])})
        values = tuple(given[name] for name in compiled.positiontup or ()) if driver.database.is_sqlite else given
        rows = connection.exec_driver_sql(f"{command} {compiled}", values).all()
    plan = "\n".join(str(row[-1]) for row in rows)
    assert "ix_submissions_charged" in plan, plan
    assert "Seq Scan on submissions" not in plan, plan


def add_family(driver: Driver, limit: int | None, *child_limits: int | None) -> tuple[str, ...]:
    """Insert a batch and a chain of batches that try it again, six jobs of one each; return their ids."""
    ids: list[str] = []
    for place, each in enumerate((limit, *child_limits)):
        batch = make_batch(max_cost_micros=each, parent_id=ids[-1] if ids else None, generation=place + 1)
        ids.append(driver.add(*[priced(1) for _ in range(6)], batch=batch).id)
    return tuple(ids)


@pytest.mark.parametrize("child_limit", [8, None])
def test_a_parent_and_its_retry_share_the_parents_budget(driver: Driver, child_limit: int | None) -> None:
    """Single jobs of the parent that are tried again beside a running child spend of the same money."""
    parent, child = add_family(driver, 8, child_limit)
    assert len(driver.claim(slots=ROOMY)) == 8
    assert charged(driver, parent) + charged(driver, child) == 8
    assert (driver.claim(slots=ROOMY), next_due(driver)) == ((), None)
    driver.batches.set_budget(parent, 9)
    assert next_due(driver) is not None
    assert len(driver.claim(slots=ROOMY)) == 1


def test_a_grandchild_is_held_to_every_budget_above_it(driver: Driver) -> None:
    """The tightest binds each: the middle one's is for itself and what tries it again, the first one's for all."""
    first, middle, last = add_family(driver, 9, 4, None)
    driver.claim(slots=ROOMY)
    assert charged(driver, middle) + charged(driver, last) == 4
    assert charged(driver, first) == 5
    driver.batches.set_budget(first, 11)
    assert len(driver.claim(slots=ROOMY)) == 1
    assert charged(driver, first) == 6


def test_an_unknown_of_a_retry_counts_in_the_parents_budget(driver: Driver) -> None:
    """Nobody can say that it cost nothing; what was surely refused comes back to the whole family."""
    _, child = add_family(driver, 1, 1)
    row = driver.claim_one(slots=ROOMY, batch_id=child)
    driver.report(row, Unknown("read_timeout", "x"))
    assert driver.claim(slots=ROOMY) == ()
    driver.report_late(row.submission.id, Rejected("1214", "no"))
    assert len(driver.claim(slots=ROOMY)) == 1


def test_a_parents_and_a_retrys_claims_at_once_spend_once(driver: Driver) -> None:
    """Two keys, one on the parent and one on the child: they meet at the parent's row."""
    parent = driver.add(*[priced(1, credential="key-0") for _ in range(30)], batch=make_batch(max_cost_micros=10))
    again = make_batch(max_cost_micros=10, parent_id=parent.id)
    driver.add(*[priced(1, credential="key-1") for _ in range(30)], batch=again)

    def work(number: int) -> int:
        taken = 0
        while rows := driver.claim(slots=ROOMY, limit=1, credential=f"key-{number % 2}"):
            taken += len(rows)
        return taken

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(work, range(THREADS))) == 10
    assert charged(driver, parent.id) + charged(driver, again.id) == 10


OUTCOMES: tuple[SubmitOutcome, ...] = (
    NotSent("connect_timeout", "x"),
    Rejected("1214", "no"),
    Unknown("read_timeout", "x"),
    FailedAtSubmit(None, "FAIL"),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prices=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    limits=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
)
def test_no_course_of_events_exceeds_the_budget(
    driver: Driver, prices: list[int], limits: list[int], seed: int
) -> None:
    """Whatever is claimed and answered in whatever order: no claim takes the ledger past the budget of its moment."""
    rng = Random(seed)
    mine = add(
        driver, limits[0], *[priced(price, model=rng.choice("ab"), priority=rng.choice([4, 5])) for price in prices]
    )
    for limit in limits:
        driver.batches.set_budget(mine, limit)
        before = charged(driver, mine)
        rows = [
            row for row in driver.claim(slots=ROOMY, limit=3, max_unknown_per_hour=10**6) if row.job.batch_id == mine
        ]
        assert charged(driver, mine) <= max(limit, before)
        assert not rows or charged(driver, mine) <= limit
        for row in rows:
            driver.report(row, rng.choice(OUTCOMES))
        driver.clock.advance(HOUR)
