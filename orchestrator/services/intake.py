"""Take requests in: a checked job file, or a single request, become a batch of queued jobs, each exactly once.

Nothing is stored before everything has passed; what is repeated after a kill ends in the same jobs (H2, H20).
A single request is a batch of one line named after its kind: one way in, one way to repeat it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from orchestrator.domain.access import AuditEntry
from orchestrator.domain.errors import BatchFileError, Fault, InvalidParams, UnknownKind
from orchestrator.domain.job import Batch, Json
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import RepeatKey, SingleIntake, UnpaidCost
from orchestrator.services.batches import (
    Intake,
    Taker,
    change_budget,
    create_or_join,
    fill_batch,
    make_batch,
    make_job,
    price_new,
    require_within,
)
from orchestrator.services.family_budgets import require_family_within
from orchestrator.services.inputs import InputReader, copy_inputs, in_line
from orchestrator.services.jobfile.check import CheckedFile, CheckOptions, PreparedLine, check_file, prepare
from orchestrator.services.jobfile.fields import DEFAULT_PRIORITY, Judge, printable, show
from orchestrator.services.jobfile.inline import InputRefused
from orchestrator.services.jobfile.keeping import keep_file
from orchestrator.services.jobfile.paths import Roots
from orchestrator.services.jobfile.request import ReadLine, drop_nulls, make_param, read_request
from orchestrator.services.jobfile.strictjson import read_json
from orchestrator.services.jobfile.tally import Estimate, PriceSum

__all__ = [
    "CheckOptions",
    "CheckedFile",
    "CheckedRequest",
    "Intake",
    "SingleRequest",
    "Taker",
    "check_file",
    "check_one",
    "has_inputs",
    "make_single",
    "refuse_reused_key",
    "take_file",
    "take_one",
]

MAX_IDEMPOTENCY_KEY = 255


def take_file(
    checked: CheckedFile,
    taker: Taker,
    *,
    is_forced: bool = False,
    max_cost_micros: int | None = None,
    is_partial: bool = False,
    webhook: str | None = None,
) -> Intake:
    """Make the checked file a batch, or find the batch that it is already.

    The newest batch of the same identity goes on; `is_forced` makes a new generation that pays again. Lines that equal
    earlier jobs of the environment (custom_id and body) become members of the batch as they stand. `is_partial`: bad
    lines are left out, their faults and the file kept in the archive under batches/<id>/. `max_cost_micros` becomes the
    batch's budget, a known batch's too; None keeps what that has. `webhook` hears of the batch and of every job in it from
    now on. Raises BatchFileError (the file or an input changed
    since), BudgetError, and StepErrors of the store.
    """
    checked.require_good(is_partial=is_partial)
    found = taker.batches.find_newest(checked.identity_sha256, checked.options.environment)
    if found is not None and found.is_intake_done and not is_forced:
        if max_cost_micros is not None:
            require_family_within(taker.batches, found.id, max_cost_micros)
        _link(found, taker, webhook)
        batch = change_budget(found, taker, max_cost_micros)
        return Intake(batch, 0, 0, is_resumed=True, former_budget=found.max_cost_micros)
    # A forced intake that was killed is gone on with: its half would otherwise stay behind, payable, beside the next.
    is_half_forced = found is not None and found.generation > 1 and not found.is_intake_done
    is_resumed = found is not None and (not is_forced or is_half_forced)
    batch = found if found is not None and is_resumed else _make_file_batch(checked, found, taker, max_cost_micros)
    if max_cost_micros is not None:
        _require_room(checked, batch, taker, max_cost_micros, is_begun=is_resumed)
    _copy_all(checked, taker)
    if not is_resumed:
        batch, is_first = create_or_join(batch, taker)
        is_resumed = not is_first
    _link(batch, taker, webhook)  # before its jobs: none of them ends unheard
    former = batch.max_cost_micros if is_resumed else None
    batch = change_budget(batch, taker, max_cost_micros)
    keep_file(checked, batch.id, taker.store)
    return replace(fill_batch(batch, checked.read_again(), taker, is_resumed=is_resumed), former_budget=former)


def _make_file_batch(checked: CheckedFile, newest: Batch | None, taker: Taker, limit: int | None) -> Batch:
    batch = make_batch(
        identity_sha256=checked.identity_sha256,
        environment=checked.options.environment,
        name=checked.name,
        line_count=checked.good_count,
        newest=newest,
        taker=taker,
        max_cost_micros=limit,
    )
    return replace(batch, refused_count=len(checked.refused))


def _link(batch: Batch, taker: Taker, webhook: str | None) -> None:
    if webhook is not None:
        taker.batches.link_webhook(batch.id, webhook)


def _require_room(checked: CheckedFile, batch: Batch, taker: Taker, limit: int, *, is_begun: bool) -> None:
    """Of a batch that is half in, what it and its retries have charged and queued counts beside the lines to come."""
    last = taker.batches.find_last_line(batch.id) if is_begun else 0
    there = taker.batches.price_family(batch.id) if is_begun else UnpaidCost(0, 0)
    rest = price_new(batch, (line for line in checked.read_again() if (line.request.line_number or 0) > last), taker)
    unpriced_count = rest.unpriced_count + there.unpriced_count
    require_within(rest.micros + there.total_micros, unpriced_count, limit)


def _copy_all(checked: CheckedFile, taker: Taker) -> None:
    if not checked.has_inputs:
        return
    done: set[str] = set()
    for line in checked.read_again():
        try:
            copy_inputs(line.inputs, reader=checked.reader, store=taker.store, spool=taker.spool, done=done)
        except InputRefused as refused:
            raise BatchFileError([in_line(refused, line.request.line_number)]) from refused


@dataclass(frozen=True)
class SingleRequest:
    """One request as a person or a program gave it. `typed_paths` are files named on the command line."""

    kind: str
    body: Json
    custom_id: str | None = None
    tags: Mapping[str, object] = field(default_factory=dict)
    priority: object = DEFAULT_PRIORITY
    not_before: datetime | None = None
    typed_paths: tuple[str, ...] = ()
    webhook: str | None = None


@dataclass(frozen=True)
class CheckedRequest:
    """A single request that passed, and what it will cost."""

    line: PreparedLine
    warnings: tuple[Fault, ...]
    estimate: Estimate
    options: CheckOptions
    reader: InputReader = field(repr=False)


def check_one(
    single: SingleRequest,
    kinds: Mapping[str, Kind],
    *,
    options: CheckOptions,
    folder: Path | None = None,
    file_roots: Sequence[Path] = (),
    judge_link: Judge | None = None,
    reader: InputReader | None = None,
) -> CheckedRequest:
    """Check a single request like a line of a file; without a model it gets the kind's default. Stores nothing.

    Files are read by `reader`, or else below `folder` and `file_roots` and as typed.

    Raises UnknownKind, and InvalidParams with every fault.
    """
    kind = _get_kind(single.kind, kinds)
    reader = reader or InputReader(Roots.make(folder, file_roots, single.typed_paths), judge_link)
    value, problems = _as_json(single, kind)
    request, faults = (
        read_request(value, kinds, line_number=None, allow_unknown_model=options.allow_unknown_model)
        if value is not None
        else (None, problems)
    )
    if request is not None and request.depends_on:
        faults.append(_refuse_dependency(request.depends_on[0]))
    line, every = prepare(ReadLine(1, request, tuple(faults)), reader, options.judge)
    plain = [replace(fault, line=None, column=None, param=fault.param and printable(fault.param)) for fault in every]
    if line is None:
        raise InvalidParams([fault for fault in plain if not fault.is_warning])
    prices = PriceSum()
    prices.add(line.request.kind.name, line.request.model, line.price)
    line = replace(line, request=replace(line.request, line_number=1))
    return CheckedRequest(line, tuple(plain), prices.total(), options, reader)


def take_one(
    checked: CheckedRequest,
    taker: Taker,
    *,
    idempotency_key: str | None = None,
    max_cost_micros: int | None = None,
) -> Intake:
    """Make a checked request a job (`Intake.job_id`). The same key gives the same job again.

    Raises InvalidParams for a key that was used with another body, BudgetError, and StepErrors of the store.
    """
    identity = _identify(checked.options.environment, taker, idempotency_key)
    found = taker.batches.find_newest(identity, checked.options.environment)
    if found is not None and (job_id := _find_same(found, checked, taker)):
        return Intake(found, 0, 0, is_resumed=True, job_id=job_id, warnings=checked.warnings)
    if max_cost_micros is not None:
        require_within(checked.estimate.micros, checked.estimate.unpriced_count, max_cost_micros)
    _copy_inputs(checked, taker)
    batch = found or make_batch(
        identity_sha256=identity,
        environment=checked.options.environment,
        name=checked.line.request.kind.name,
        line_count=1,
        newest=None,
        taker=taker,
        max_cost_micros=max_cost_micros,
    )
    if found is None:
        batch, _ = create_or_join(batch, taker)
    intake = fill_batch(batch, [checked.line], taker, is_resumed=found is not None, is_reusing=False)
    # Asked of the database: another process may have put the job of this key there first.
    return replace(intake, job_id=_find_same(batch, checked, taker), warnings=checked.warnings)


def has_inputs(kind: str, body: Json, kinds: Mapping[str, Kind]) -> bool:
    """Say whether a request names inputs: to check it takes reading and storing them. Asks nobody."""
    return kind in kinds and bool(kinds[kind].input_slots(drop_nulls(body)))


def make_single(
    checked: CheckedRequest, taker: Taker, *, repeat: RepeatKey | None = None, max_cost_micros: int | None = None
) -> SingleIntake:
    """Return what is to be inserted for a checked request; its inputs are in the archive before.

    Raises BudgetError, InvalidParams for an input that has changed since, and StepErrors of the store.
    """
    if max_cost_micros is not None:
        require_within(checked.estimate.micros, checked.estimate.unpriced_count, max_cost_micros)
    _copy_inputs(checked, taker)
    batch = make_batch(
        identity_sha256=_identify(checked.options.environment, taker, None),
        environment=checked.options.environment,
        name=checked.line.request.kind.name,
        line_count=1,
        newest=None,
        taker=taker,
        max_cost_micros=max_cost_micros,
    )
    job = make_job(checked.line, batch, taker, taker.clock.now())
    return SingleIntake(batch, job, AuditEntry(taker.who, "job.create", job.id, taker.owner), repeat)


def refuse_reused_key() -> InvalidParams:
    """Return what a key gets that came with another request before."""
    message = "this idempotency key was used with another request"
    return InvalidParams([Fault("idempotency_key_reused", "idempotency_key", message, "use a new key")])


def _copy_inputs(checked: CheckedRequest, taker: Taker) -> None:
    try:
        copy_inputs(checked.line.inputs, reader=checked.reader, store=taker.store, spool=taker.spool, done=set())
    except InputRefused as refused:
        raise InvalidParams([in_line(refused, None)]) from refused


def _get_kind(name: str, kinds: Mapping[str, Kind]) -> Kind:
    if name in kinds:
        return kinds[name]
    near = get_close_matches(name, kinds, n=1)
    hint = f"did you mean {near[0]}?" if near else None
    raise UnknownKind(f"kind is {show(name)}; {', '.join(sorted(kinds))} are allowed", param="kind", hint=hint)


def _refuse_dependency(name: str) -> Fault:
    message = f"a single request cannot refer to {show(name)}: there is no other line beside it"
    return Fault("unknown_dependency", None, message, "put both into a job file")


def _as_json(single: SingleRequest, kind: Kind) -> tuple[Json | None, list[Fault]]:
    """Pass the request through the reader of job files: what JSON cannot hold is refused here as there."""
    model = single.body.get("model")
    value = {
        "kind": kind.name,
        "body": {**single.body, "model": kind.default_model if model is None else model},
        "tags": single.tags,
        "priority": single.priority,
    }
    if single.custom_id is not None:
        value["custom_id"] = single.custom_id
    if single.webhook is not None:
        value["webhook"] = single.webhook
    if single.not_before is not None:
        value["not_before"] = single.not_before.isoformat()
    try:
        read, problems = read_json(json.dumps(value, default=dict))
    except (TypeError, ValueError, RecursionError) as error:
        return None, [Fault("invalid_json", None, f"the request cannot be written as JSON: {error}")]
    faults = [Fault(problem.code, make_param(problem.path), problem.message, problem.hint) for problem in problems]
    return (read if isinstance(read, dict) else None), faults


def _identify(environment: str, taker: Taker, key: str | None) -> str:
    """Without a key nothing else is the same request."""
    if key is not None and not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        message = f"the idempotency key has {len(key)} characters; 1-{MAX_IDEMPOTENCY_KEY} are allowed"
        raise InvalidParams([Fault("invalid_idempotency_key", "idempotency_key", message)])
    unique = f"key:{key}" if key is not None else f"once:{taker.rng.getrandbits(128):x}"
    text = json.dumps(["one", environment, taker.owner, unique])
    return hashlib.sha256(text.encode()).hexdigest()


def _find_same(batch: Batch, checked: CheckedRequest, taker: Taker) -> str | None:
    members = taker.batches.list_members(batch.id, limit=1)
    if not members:
        return None
    is_same = members[0].body_sha256 == checked.line.body_sha256 and batch.name == checked.line.request.kind.name
    if not is_same or members[0].custom_id != checked.line.request.custom_id:
        raise refuse_reused_key()
    return members[0].job_id
