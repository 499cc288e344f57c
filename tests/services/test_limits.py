"""Several processes on one queue: the provider never sees more than the limit, and one key never makes two jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from orchestrator.domain.ports import LaneName
from orchestrator.domain.query import parse_query
from orchestrator.domain.states import State
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckOptions, SingleRequest, check_one, take_one
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Drain, Mailbox, Stop
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.wiring import kinds_by_name
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO

PROCESSES = 4
LIMIT = 3
JOBS = 10


def test_the_provider_never_sees_more_than_the_limit(bench: Bench) -> None:
    """G1, promise 10: four processes, ten jobs, three slots; its own high-water mark says three, and all are done."""
    bench.control("limits", {"*": 50})  # so that one too many would be let in and counted, not refused
    bench.control("latency", {"viduq1-text": {"mean_seconds": 30, "jitter": 0}})
    batch = bench.take(*[VIDEO] * JOBS)
    with ExitStack() as stack, ThreadPoolExecutor(PROCESSES) as pool:
        contexts = [stack.enter_context(bench.process()) for _ in range(PROCESSES)]
        limited = [replace(c, limits=replace(c.limits, slots={"*": LIMIT})) for c in contexts]
        for _ in range(JOBS):
            list(pool.map(bench.submit, limited))
            if all(job.state is not State.QUEUED for job in bench.jobs(batch)):
                break
            finish(bench, limited[0], batch)
    assert bench.stats()["in_flight_high_water"] == {"viduq1-text": LIMIT}
    assert len(bench.ledger()) == bench.posts() == JOBS


def test_one_line_among_the_slots_of_a_long_batch(bench: Bench) -> None:
    """G7 in the lanes: forty lines have the only slot; the provider sees the other batch's line within two releases,
    in a model that is busy as in one that the long batch uses as well.
    """
    long = bench.take(*[VIDEO] * 40, *[IMAGE] * 3)
    with bench.process() as context:
        one_slot = replace(context, limits=replace(context.limits, slots={"*": 1}))
        bench.submit(one_slot)
        small = bench.take({**VIDEO, "custom_id": "small-1"}, {**IMAGE, "custom_id": "small-2"})
        before = len(bench.ledger())
        for _ in range(2):
            finish(bench, one_slot, long)
            bench.submit(one_slot)
    assert all(job.state is not State.QUEUED for job in bench.jobs(small))
    assert len(bench.ledger()) <= before + 2 * 2


def test_a_budget_holds_over_several_processes(bench: Bench) -> None:
    """A20, promise 10: four processes, ten jobs, money for six: the provider's own ledger says six."""
    batch = bench.take(*[VIDEO] * JOBS)
    price = bench.jobs(batch)[0].price
    assert price is not None
    bench.app.batches.set_budget(batch, 6 * price.micros)
    bench.control("limits", {"*": 50})
    with ExitStack() as stack, ThreadPoolExecutor(PROCESSES) as pool:
        contexts = [stack.enter_context(bench.process()) for _ in range(PROCESSES)]
        roomy = [replace(c, limits=replace(c.limits, slots={"*": 50}, submit_window=2)) for c in contexts]
        list(pool.map(lambda context: drain_apart(bench, context), roomy))
    assert len(bench.ledger()) == bench.posts() == 6


def test_a_budget_holds_for_resubmissions_by_policy(bench: Bench) -> None:
    """A20: the lost answer may have been charged; the policy queues the job again, and there is no money for it."""
    bench.faults({"fault": "lost_answer", "phase": "submit", "times": 1})
    batch = bench.take(VIDEO)
    price = bench.only(batch).price
    assert price is not None
    bench.app.batches.set_budget(batch, 2 * price.micros - 1)
    with bench.process() as context:
        policy = replace(context, limits=replace(context.limits, resubmit_max=1))
        bench.submit(policy)
        bench.advance(3600)
        bench.sweep(policy)
        assert bench.only(batch).state is State.QUEUED
        bench.submit(policy)
        assert (len(bench.ledger()), bench.only(batch).state) == (1, State.QUEUED)
        bench.app.batches.set_budget(batch, 2 * price.micros)
        bench.submit(policy)
    assert len(bench.ledger()) == 2


def drain_apart(bench: Bench, context: LaneContext) -> None:
    """Run the submit lane as a process of its own does: nobody else reads its mailbox."""
    Drain(SubmitLane(context), loop=bench.loop, clock=bench.clock, mailbox=Mailbox(), stop=Stop()).run()


def finish(bench: Bench, context: LaneContext, batch: str) -> None:
    """Let what is with the provider end there and be noticed, which frees its slots."""
    due = context.jobs.find_next_due(LaneName.POLL)
    assert due is not None
    bench.let_due(batch)
    bench.advance(60)
    bench.poll(context)


def test_many_posts_with_one_key_make_one_job(bench: Bench) -> None:
    """A19: the same request with the same idempotency key from many callers at once: one job, one id."""
    single = SingleRequest("image", {"model": "glm-image", "prompt": "a red kite"})
    checked = check_one(single, kinds_by_name(), options=CheckOptions("test"))
    settings = bench.app.settings
    store = bench.app.stores.open(settings.archive)

    def post(_: int) -> str | None:
        taker = Taker(bench.app.batches, store, bench.app.clock, bench.app.rng, settings.spool_dir)
        return take_one(checked, taker, idempotency_key="k").job_id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(post, range(50)))
    assert len(ids) == 1
    assert len(list(bench.app.history.iter_jobs(parse_query("", now=bench.clock.now())))) == 1
