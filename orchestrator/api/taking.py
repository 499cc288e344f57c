"""Requests for jobs taken in together: known keys are answered first, the rest is checked, and one transaction writes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.api import schemas
from orchestrator.api.desk import Desk
from orchestrator.domain.access import Principal
from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.domain.job import NewJob
from orchestrator.domain.ports import LaneName, RepeatKey, SingleIntake, Taken
from orchestrator.services.intake import (
    CheckedRequest,
    SingleRequest,
    check_one,
    has_inputs,
    make_single,
    refuse_reused_key,
)

KEPT = timedelta(days=7)  # how long an idempotency key is remembered
MICROS = 1_000_000
LARGE_BYTES = 64 * 1024
"""A request of more words than that takes a while to look at, whoever waits for it."""


@dataclass(frozen=True)
class Wanted:
    """A job that somebody asks for; with `repeat` at most once."""

    caller: Principal
    body: schemas.JobRequest
    repeat: RepeatKey | None = None


@dataclass(frozen=True)
class Got:
    """What came of it. `job` is None when an earlier use of the key has made the job."""

    taken: Taken
    job: NewJob | None


def want(caller: Principal, body: schemas.JobRequest, key: str | None) -> Wanted:
    """Return what is asked for."""
    repeat = RepeatKey(caller.creates_for, key, _digest(body), KEPT) if key is not None else None
    return Wanted(caller, body, repeat)


def is_plain(desk: Desk, body: schemas.JobRequest, byte_count: int) -> bool:
    """Say whether it is taken in without reading or storing an input, or many words, which others would have to wait
    for. Asked on the event loop, as `want` is of what is plain.
    """
    return byte_count <= LARGE_BYTES and not has_inputs(body.kind, body.body, desk.app.kinds)


def check(desk: Desk, caller: Principal, body: schemas.JobRequest) -> CheckedRequest:
    """Check and price a request. Raises InvalidParams, UnknownKind."""
    single = SingleRequest(
        kind=body.kind,
        body=body.body,
        custom_id=body.custom_id,
        tags=body.tags,
        priority=body.priority,
        not_before=_aware(body),
        webhook=body.webhook,
    )
    options = desk.options(caller, allow_unknown_model=body.allow_unknown_model)
    return check_one(single, desk.app.kinds, options=options, reader=desk.reader(caller))


def take_all(desk: Desk, wanted: Sequence[Wanted]) -> Sequence[Got | Exception]:
    """Take requests in; return what came of each, or what is to be raised for it.

    A key that is known is answered before anything is checked: what was taken once is answered so again, whatever the
    settings and the prices say by now. One that comes twice at once meets itself at the unique key.
    """
    known = desk.app.single_intakes.find_repeats({one.repeat for one in wanted if one.repeat is not None})
    prepared = [_prepare(desk, one, known) for one in wanted]
    taken = iter(desk.app.single_intakes.take_all([one for one in prepared if isinstance(one, SingleIntake)]))
    got = [_settle(one, next(taken)) if isinstance(one, SingleIntake) else one for one in prepared]
    if any(isinstance(one, Got) and one.taken.is_new for one in got):
        desk.wake(LaneName.SUBMIT)
    return got


def _prepare(desk: Desk, wanted: Wanted, known: Mapping[RepeatKey, Taken]) -> SingleIntake | Got | Exception:
    if wanted.repeat is not None and (taken := known.get(wanted.repeat)) is not None:
        return Got(taken, None) if taken.is_same_request else refuse_reused_key()
    limit = wanted.body.max_cost
    try:
        checked = check(desk, wanted.caller, wanted.body)
        most = int(limit * MICROS) if limit is not None else None
        return make_single(checked, desk.taker(wanted.caller), repeat=wanted.repeat, max_cost_micros=most)
    except Exception as error:  # noqa: BLE001 - raised for its own caller; the others' requests go on
        return error


def _settle(single: SingleIntake, taken: Taken | Exception) -> Got | Exception:
    if isinstance(taken, Exception):
        return taken
    if not taken.is_same_request:
        return refuse_reused_key()
    return Got(taken, single.job if taken.is_new else None)


def _aware(body: schemas.JobRequest) -> datetime | None:
    if body.not_before is not None and body.not_before.tzinfo is None:
        raise InvalidParams(
            [Fault("invalid_time", "not_before", "not_before has no time zone", "2026-11-24T09:30:00Z")]
        )
    return body.not_before


def _digest(body: schemas.JobRequest) -> str:
    """Return what stands for a request, in whatever order its writer put the fields."""
    return hashlib.sha256(json.dumps(body.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
