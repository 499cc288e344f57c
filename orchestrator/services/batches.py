"""Fill batches: lines that passed every check become queued jobs, each exactly once, however often it is repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from random import Random
from typing import TypeVar

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.access import LOCAL
from orchestrator.domain.errors import BudgetError, Conflict, Fault
from orchestrator.domain.ids import BATCH, JOB, make_id
from orchestrator.domain.job import Batch, NewJob
from orchestrator.domain.ports import Batches, Clock, Store
from orchestrator.services.jobfile.check import PreparedLine
from orchestrator.services.jobfile.tally import Estimate, PriceSum

T = TypeVar("T")
CHUNK = 500  # jobs a transaction: the knee of both databases


@dataclass(frozen=True)
class Taker:
    """For whom jobs are taken and where they go. `spool` is a folder for copies under way."""

    batches: Batches
    store: Store
    clock: Clock
    rng: Random
    spool: Path
    owner: str = LOCAL
    credential: str = "default"
    actor: str = ""
    """Whom the history names; nobody else than the owner when empty."""

    @property
    def who(self) -> str:
        """Return whom the history names."""
        return self.actor or self.owner


@dataclass(frozen=True)
class Intake:
    """What came of it. `new_count` and `reused_count` are of this call; `cost` is the price of the new jobs.

    `is_resumed`: the batch was there before, whole or begun. `job_id` is set for a single request. `former_budget`: the
    budget of a known batch before this call, in micro-units. `unheard_count`: lines with a webhook of their own that jobs
    answer which have ended already, so that it hears nothing of them. A batch whose cancellation was asked for while it was
    filled (`batch.cancel_requested_at`) lacks the lines that were not in yet.
    """

    batch: Batch
    new_count: int
    reused_count: int
    is_resumed: bool
    cost: Estimate = field(default_factory=Estimate)
    job_id: str | None = None
    warnings: tuple[Fault, ...] = ()
    former_budget: int | None = None
    unheard_count: int = 0


def make_batch(
    *,
    identity_sha256: str,
    environment: str,
    name: str,
    line_count: int,
    newest: Batch | None,
    taker: Taker,
    max_cost_micros: int | None = None,
) -> Batch:
    """Return a batch to create; it is the next generation when one of this identity is there."""
    now = taker.clock.now()
    return Batch(
        id=make_id(BATCH, now=now, rng=taker.rng),
        owner=taker.owner,
        name=name,
        identity_sha256=identity_sha256,
        environment=environment,
        archive_url=taker.store.url,
        line_count=line_count,
        is_intake_done=False,
        created_at=now,
        generation=newest.generation + 1 if newest else 1,
        max_cost_micros=max_cost_micros,
    )


def create_or_join(batch: Batch, taker: Taker) -> tuple[Batch, bool]:
    """Create the batch; return it and True, or, when another process was first, that one's and False."""
    try:
        taker.batches.create(batch)
    except Conflict:
        winner = taker.batches.find_newest(batch.identity_sha256, batch.environment)
        if winner is None or winner.generation != batch.generation:
            raise
        return winner, False
    reach(CrashPoint.BATCH_CREATED)
    return batch, True


def fill_batch(
    batch: Batch, lines: Iterable[PreparedLine], taker: Taker, *, is_resumed: bool, is_reusing: bool = True
) -> Intake:
    """Add the lines to the batch and close its intake; safe to repeat: it goes on behind the last line that is in, since
    each transaction brings a whole chunk, in order. With `is_reusing`, lines that equal earlier jobs are answered by
    those. Ends early, its intake closed, when somebody asks for the batch's cancellation.
    """
    new_count = reused_count = unheard_count = 0
    prices = PriceSum()
    last = taker.batches.find_last_line(batch.id) if is_resumed else 0
    for chunk in read_ahead(chunks(line for line in lines if _number(line) > last)):
        equal = _find_equal(chunk, batch, taker) if is_reusing else {}
        fresh = [line for line in chunk if _key(line) not in equal]
        links = [(_number(line), _id(line), equal[_key(line)]) for line in chunk if _key(line) in equal]
        now = taker.clock.now()
        jobs = [make_job(line, batch, taker, now) for line in fresh]
        ended_count = _hear_linked(chunk, equal, taker)  # first: whoever repeats this after a kill asks for later lines
        added = taker.batches.add_jobs(batch.id, jobs, actor=taker.who, links=links)
        reach(CrashPoint.JOBS_ADDED)
        if not added and taker.batches.get(batch.id).cancel_requested_at is not None:
            break
        new_count += added
        reused_count += len(links)
        unheard_count += ended_count
        _add_prices(prices, fresh)
    taker.batches.finish_intake(batch.id)
    reach(CrashPoint.INTAKE_CLOSED)
    done = taker.batches.get(batch.id)
    return Intake(done, new_count, reused_count, is_resumed, prices.total(), unheard_count=unheard_count)


def change_budget(batch: Batch, taker: Taker, limit: int | None) -> Batch:
    """Give a known batch another budget; None keeps what it has. Return the batch as it is then."""
    if limit is None or limit == batch.max_cost_micros:
        return batch
    taker.batches.set_budget(batch.id, limit)
    return replace(batch, max_cost_micros=limit)


def price_new(batch: Batch, lines: Iterable[PreparedLine], taker: Taker) -> Estimate:
    """Return the price of those lines that no earlier job answers. Stores nothing."""
    prices = PriceSum()
    for chunk in chunks(lines):
        equal = _find_equal(chunk, batch, taker)
        _add_prices(prices, [line for line in chunk if _key(line) not in equal])
    return prices.total()


def require_within(micros: int, unpriced_count: int, limit: int) -> None:
    """Raise BudgetError unless so much money (micro-units) is allowed; what has no price cannot be held to a limit."""
    refuse_unpriced(unpriced_count)
    if micros > limit:
        message = f"this would cost {show_micros(micros)}; at most {show_micros(limit)} was allowed"
        raise BudgetError(message, hint="raise --max-cost")


def refuse_unpriced(unpriced_count: int) -> None:
    """Raise BudgetError when there are jobs without a price: what they cost cannot be held to a limit."""
    if unpriced_count:
        jobs = "1 job has" if unpriced_count == 1 else f"{unpriced_count:,} jobs have"
        hint = "run without --max-cost, or leave those models out"
        raise BudgetError(f"{jobs} no table price, so the cost cannot be held to a limit", hint=hint)


def show_micros(micros: int) -> str:
    """Return an amount as people write it, exactly: two decimals, more when there are any."""
    text = f"{Decimal(micros) / 1_000_000:.6f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"{whole}.{part.ljust(2, '0')}"


def _find_equal(chunk: Sequence[PreparedLine], batch: Batch, taker: Taker) -> Mapping[tuple[str, str], str]:
    """A generation that was asked for pays again; so does its intake when it is repeated after a kill."""
    keys = [_key(line) for line in chunk if line.request.custom_id is not None]
    if batch.generation > 1 or not keys:
        return {}
    return taker.batches.find_equal(batch.environment, keys, outside=batch.id, owner=batch.owner)


def _hear_linked(chunk: Sequence[PreparedLine], equal: Mapping[tuple[str, str], str], taker: Taker) -> int:
    """Let the webhooks of linked lines hear of the jobs that answer them; return how many of those have ended already."""
    named = {equal[_key(line)]: line.request.webhook for line in chunk if _key(line) in equal}
    urls = {job_id: url for job_id, url in named.items() if url is not None}
    return taker.batches.link_job_webhooks(taker.owner, urls) if urls else 0


def make_job(line: PreparedLine, batch: Batch, taker: Taker, now: datetime) -> NewJob:
    """Return the job to insert for a line."""
    request = line.request
    return NewJob(
        id=make_id(JOB, now=now, rng=taker.rng),
        kind=request.kind.name,
        model=request.model,
        body=line.body,
        body_sha256=line.body_sha256,
        input=line.shown,
        credential=taker.credential,
        archive_url=taker.store.url,
        archive_class=request.kind.archive_class,
        owner=taker.owner,
        batch_id=batch.id,
        line_number=request.line_number,
        custom_id=request.custom_id,
        tags=request.tags,
        priority=request.priority,
        not_before=request.not_before,
        price=line.price,
        depends_on=request.depends_on,
        webhook=request.webhook,
    )


def _add_prices(prices: PriceSum, lines: Iterable[PreparedLine]) -> None:
    for line in lines:
        prices.add(line.request.kind.name, line.request.model, line.price)


def _key(line: PreparedLine) -> tuple[str, str]:
    return _id(line), line.body_sha256


def _id(line: PreparedLine) -> str:
    return line.request.custom_id or ""


def _number(line: PreparedLine) -> int:
    return line.request.line_number or 0


def chunks(lines: Iterable[T]) -> Iterator[list[T]]:
    """Yield the lines in groups of one transaction each."""
    rest = iter(lines)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def read_ahead(groups: Iterator[list[PreparedLine]]) -> Iterator[list[PreparedLine]]:
    """Yield the groups while the next one is read in a thread: the database works on one meanwhile, and reading a line
    costs as much as inserting it.
    """
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        ahead: Future[list[PreparedLine]] = pool.submit(next, groups, [])
        while group := ahead.result():
            ahead = pool.submit(next, groups, [])
            yield group
