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
from orchestrator.wiring import kinds_by_name
from tests.services.bench import Bench
from tests.services.desk import VIDEO

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
