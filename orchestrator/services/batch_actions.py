"""What people ask of a whole batch: to stop it, or to try again what did not succeed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from random import Random
from typing import NamedTuple

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.decide import decide_cancel, decide_retry
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ids import BATCH, JOB, make_id
from orchestrator.domain.job import Batch, Job, NewJob, Price
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import BatchCancels, Batches, BatchReports, Clock, Jobs, LineJob
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State
from orchestrator.services.batch_files import iter_lines
from orchestrator.services.batches import CHUNK, chunks, require_within
from orchestrator.services.family_budgets import find_left
from orchestrator.services.jobfile.tally import Estimate, PriceSum
from orchestrator.services.lifecycle import last_final_answer, retry_job


@dataclass(frozen=True)
class Cancelled:
    """What cancelling a batch came to: jobs stopped before they were paid for, and jobs that run on."""

    stopped_count: int
    runs_on_count: int


def cancel_batch(cancels: BatchCancels, batch_id: str, *, actor: str, reason: str) -> Cancelled:
    """Stop a batch's intake and cancel every member that is queued; those that are being paid for get the flag.

    Safe to repeat after a kill. Jobs that other batches have as members too are cancelled there as well; batches that try this one again are not. Raises NotFound, Conflict once it has finished.
    """
    cancels.request_cancel(batch_id)
    reach(CrashPoint.CANCEL_ASKED)
    stopped = flagged = after = 0
    while True:
        group = cancels.cancel_group(batch_id, decide_cancel, after_line=after, actor=actor, reason=reason)
        stopped += group.stopped_count
        flagged += group.flagged_count
        if group.last_line is None:
            return Cancelled(stopped, flagged)
        reach(CrashPoint.CANCEL_GROUP_DONE)
        after = group.last_line


def find_running_retries(reports: BatchReports, batch_id: str) -> Sequence[Batch]:
    """Return the batches that try this one again, or one of those, and have not finished: a cancel leaves them alone."""
    below, found = {batch_id}, list[Batch]()
    for batch in reports.list_family(batch_id):  # parents before their children
        if batch.parent_id in below:
            below.add(batch.id)
            found += [batch] if batch.finished_at is None else []
    return found


@dataclass(frozen=True)
class RetryDesk:
    """What a retry works with."""

    jobs: Jobs
    batches: Batches
    reports: BatchReports
    clock: Clock
    rng: Random
    kinds: Mapping[str, Kind]
    rules: Rules


@dataclass
class RetryPlan:
    """What trying a batch again would do: jobs that go on for nothing, lines to pay for again, jobs left as they are.

    `names`: custom_ids of the lines to pay for; `refused`: why, by job id.
    """

    free: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    cost: Estimate = field(default_factory=Estimate)
    left_micros: int | None = None
    """What is left of the batch's budget; None where it has none."""


@dataclass(frozen=True)
class Retried:
    """What came of it. `child` None: nothing had to be paid for again."""

    free_count: int
    child: Batch | None
    new_count: int
    refused: Mapping[str, str]


def plan_retry(desk: RetryDesk, batch_id: str, only: Iterable[str]) -> RetryPlan:
    """Look at every line of the batch, at the best that its family made of it. Stores nothing. Raises NotFound.

    `only` names states (failed, cancelled) and failure codes. A line that succeeded, moves or is held anywhere in the
    family is none of them.
    """
    plan, charged = RetryPlan(), dict[str, _Charged]()
    for line in _iter_unhappy(desk, batch_id, frozenset(only)):
        job, now = line.job, desk.clock.now()
        if not _refuses(desk, job, now, may_charge=False):
            plan.free.append(job.id)
        elif reason := _refuses(desk, job, now, may_charge=True):
            plan.refused[job.id] = reason
        else:
            charged[job.custom_id or ""] = _Charged(job.id, job.kind, job.model, job.price)
    for name, dead in _find_hopeless(desk, batch_id, plan, charged).items():
        plan.refused[charged.pop(name).job_id] = f"{name} depends on {dead}, which is dead and is not tried again"
    prices = PriceSum()
    for each in charged.values():
        prices.add(each.kind, each.model, each.price)
    plan.names, plan.cost = set(charged), prices.total()
    plan.left_micros = find_left(desk.batches, desk.reports, batch_id)
    return plan


def find_own_failed(desk: RetryDesk, batch_id: str) -> tuple[list[Job], int]:
    """Return the jobs of this batch that are the best that its family made of their lines and have failed, and how many of
    its failed lines a batch that tries it again has taken up.
    """
    lines = iter_lines(desk.reports, batch_id)
    own = {line.job.id for line in lines if line.job.state is State.FAILED}
    family = [batch.id for batch in desk.reports.list_family(batch_id)]
    best = (line.job for line in iter_lines(desk.reports, batch_id, family=family))
    failed = [job for job in best if job.id in own]
    return failed, len(own) - len(failed)


class _Charged(NamedTuple):
    """What is kept of a line that would be paid for again."""

    job_id: str
    kind: str
    model: str
    price: Price | None


def _find_hopeless(
    desk: RetryDesk, batch_id: str, plan: RetryPlan, charged: Mapping[str, _Charged]
) -> Mapping[str, str]:
    """Return the lines that would fail again at once, each with the dead line that it waits for: one that ended without
    success in the whole family and is not among those to try again.
    """
    waits = _list_waits(desk, charged)
    needed = {parent for parents in waits.values() for parent in parents} - set(charged)
    dead = _find_dead(desk, batch_id, needed, frozenset(plan.free)) if needed else set()
    hopeless: dict[str, str] = {}
    while found := {name: min(dead & parents) for name, parents in waits.items() if dead & parents}:
        hopeless |= found
        dead = set(found)
        waits = {name: parents for name, parents in waits.items() if name not in found}
    return hopeless


def _list_waits(desk: RetryDesk, charged: Mapping[str, _Charged]) -> dict[str, set[str]]:
    waits: dict[str, set[str]] = {}
    rest = iter(charged.items())
    while chunk := {line.job_id: name for name, line in islice(rest, CHUNK)}:
        found = desk.reports.list_dependencies(list(chunk))
        waits |= {chunk[job_id]: set(parents) for job_id, parents in found.items()}
    return waits


def _find_dead(desk: RetryDesk, batch_id: str, names: set[str], going_on: frozenset[str]) -> set[str]:
    family = [batch.id for batch in desk.reports.list_family(batch_id)]
    jobs = (line.job for line in iter_lines(desk.reports, batch_id, family=family))
    over = (job for job in jobs if job.state in (State.FAILED, State.CANCELLED) and job.id not in going_on)
    return {job.custom_id for job in over if job.custom_id in names}


def retry_batch(
    desk: RetryDesk, batch_id: str, only: Iterable[str], *, max_cost_micros: int | None, actor: str, reason: str
) -> Retried:
    """Try a batch again: what costs nothing goes on where it stands, the rest is paid for in a child batch.

    Repeated after a kill it fills the child that it had begun, and two at once make one: the child's identity is its
    parent and its generation. The child has a budget of its own only with `max_cost_micros`; those of its parents bind it
    in any case. Raises NotFound, BudgetError before anything is made, Conflict when another process has just made the
    same child.
    """
    wanted = frozenset(only)
    first = plan_retry(desk, batch_id, wanted)
    limit = first.left_micros if max_cost_micros is None else max_cost_micros
    _require_within(first, limit)
    free_count, refused = _go_on(desk, first, actor=actor, reason=reason)
    parent = desk.batches.get(batch_id)
    newest = desk.batches.find_newest(_identify(parent), parent.environment)
    plan = plan_retry(desk, batch_id, wanted)  # what went on for nothing may have brought others back with it
    begun = newest if newest is not None and not newest.is_intake_done else None
    if not plan.cost.count and begun is None:
        return Retried(free_count, None, 0, refused | plan.refused)
    _require_within(plan, limit)
    links = _find_links(desk, parent, wanted, plan)
    child = begun or _create_child(desk, parent, newest, plan.cost.count + len(links))
    if max_cost_micros is not None:  # after the child: room that a kill left without one would be anybody's
        desk.batches.set_budget(child.id, max_cost_micros)
    for some in chunks(links):  # first: whoever repeats this after a kill sees fewer lines to ask
        desk.batches.link_existing(child.id, some)
    new_count = _fill(desk, parent, child, wanted, plan, actor=actor)
    return Retried(free_count, desk.batches.get(child.id), new_count, refused | plan.refused)


def _require_within(plan: RetryPlan, max_cost_micros: int | None) -> None:
    if max_cost_micros is not None:
        require_within(plan.cost.micros, plan.cost.unpriced_count, max_cost_micros)


def _go_on(desk: RetryDesk, plan: RetryPlan, *, actor: str, reason: str) -> tuple[int, dict[str, str]]:
    count, refused = 0, {}
    for job_id in plan.free:
        try:
            retry_job(desk.jobs, job_id, rules=desk.rules, may_charge=False, actor=actor, reason=reason)
        except Conflict as conflict:  # it has moved since the plan; the others need not wait for it
            refused[job_id] = conflict.message
        else:
            count += 1
    return count, refused


def _create_child(desk: RetryDesk, parent: Batch, newest: Batch | None, line_count: int) -> Batch:
    now = desk.clock.now()
    generation = newest.generation + 1 if newest else 1
    child = Batch(
        id=make_id(BATCH, now=now, rng=desk.rng),
        owner=parent.owner,
        name=f"{parent.name} (retry {generation})",
        identity_sha256=_identify(parent),
        environment=parent.environment,
        archive_url=parent.archive_url,
        line_count=line_count,
        is_intake_done=False,
        created_at=now,
        generation=generation,
        parent_id=parent.id,
    )
    return _create_or_join(desk, child)


def _create_or_join(desk: RetryDesk, child: Batch) -> Batch:
    """Of two who retry at once the second helps to fill the child of the first, unless that is whole already."""
    try:
        desk.batches.create(child)
    except Conflict:
        winner = desk.batches.find_newest(child.identity_sha256, child.environment)
        if winner is None or winner.generation != child.generation or winner.is_intake_done:
            raise
        return winner
    return child


def _identify(parent: Batch) -> str:
    return hashlib.sha256(json.dumps(["retry", parent.id]).encode()).hexdigest()


def _fill(desk: RetryDesk, parent: Batch, child: Batch, only: frozenset[str], plan: RetryPlan, *, actor: str) -> int:
    """Add the lines under their old numbers: that is how a family's members are told to be one line."""
    new_count = 0
    for chunk, waits_for in _iter_charged(desk, parent, only, plan):
        now = desk.clock.now()
        jobs = [_copy(desk, line, child, waits_for.get(line.job.id, ()), now) for line in chunk]
        new_count += desk.batches.add_jobs(child.id, jobs, actor=actor)
    desk.batches.finish_intake(child.id)
    return new_count


def _find_links(
    desk: RetryDesk, parent: Batch, only: frozenset[str], plan: RetryPlan
) -> Sequence[tuple[int, str, str]]:
    """What a line waits for and is not paid for again becomes a member as it stands, so that its name is found."""
    waits = (waits_for for _, waits_for in _iter_charged(desk, parent, only, plan))
    names = {name for waits_for in waits for parents in waits_for.values() for name in parents} - plan.names
    if not names:
        return []
    family = [batch.id for batch in desk.reports.list_family(parent.id)]
    lines = iter_lines(desk.reports, parent.id, family=family)
    return [(line.line_number, line.job.custom_id or "", line.job.id) for line in lines if line.job.custom_id in names]


def _iter_charged(
    desk: RetryDesk, parent: Batch, only: frozenset[str], plan: RetryPlan
) -> Iterator[tuple[list[LineJob], Mapping[str, tuple[str, ...]]]]:
    """Yield the lines to pay for again, a transaction's worth at a time, and the names that each waits for: none that was
    not planned, whatever has ended since.
    """
    planned = (line for line in _iter_unhappy(desk, parent.id, only) if (line.job.custom_id or "") in plan.names)
    lines = (line for line in planned if _is_charged(desk, line.job))
    while chunk := list(islice(lines, CHUNK)):
        yield chunk, desk.reports.list_dependencies([line.job.id for line in chunk])


def _copy(desk: RetryDesk, line: LineJob, child: Batch, depends_on: Sequence[str], now: datetime) -> NewJob:
    """The request is the frozen one: nothing is read from anybody's disk again."""
    job = line.job
    return NewJob(
        id=make_id(JOB, now=now, rng=desk.rng),
        kind=job.kind,
        model=job.model,
        body=job.body,
        body_sha256=job.body_sha256,
        input=job.input,
        credential=job.credential,
        archive_url=job.archive_url,
        archive_class=desk.kinds[job.kind].archive_class,
        owner=job.owner,
        batch_id=child.id,
        line_number=line.line_number,
        custom_id=job.custom_id,
        tags=job.tags,
        priority=job.priority,
        not_before=job.not_before,
        price=job.price,
        depends_on=tuple(depends_on),
        tries_again=job.id,
    )


def _iter_unhappy(desk: RetryDesk, batch_id: str, only: frozenset[str]) -> Iterator[LineJob]:
    family = [batch.id for batch in desk.reports.list_family(batch_id)]
    for line in iter_lines(desk.reports, batch_id, family=family):
        job = line.job
        is_over = job.state in (State.FAILED, State.CANCELLED)
        if is_over and (job.state in only or job.failure_code in only):
            yield line


def _is_charged(desk: RetryDesk, job: Job) -> bool:
    now = desk.clock.now()
    return bool(_refuses(desk, job, now, may_charge=False)) and not _refuses(desk, job, now, may_charge=True)


def _refuses(desk: RetryDesk, job: Job, now: datetime, *, may_charge: bool) -> str | None:
    """Return why a job cannot be tried again on these terms, None when it can."""
    try:
        decide_retry(job, desk.rules, now, last_final_answer=last_final_answer(job), may_charge=may_charge)
    except Conflict as conflict:
        return conflict.message
    if may_charge and job.kind not in desk.kinds:
        return f"this version does not know the kind {job.kind}"
    return None
