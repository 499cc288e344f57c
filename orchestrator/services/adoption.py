"""Adopt a task that was submitted elsewhere: from then on it is polled and archived like any other (surfaces section 1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches

from orchestrator.domain.errors import Conflict, Fault, InvalidParams, UnknownKind
from orchestrator.domain.ids import BATCH, JOB, make_id
from orchestrator.domain.job import Batch, NewJob
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Adopted, Adoption, Jobs
from orchestrator.services.batches import Taker
from orchestrator.services.jobfile.fields import check_custom_id, check_tags
from orchestrator.services.lifecycle import check_task_id, require_tasks


@dataclass(frozen=True)
class AdoptRequest:
    """What is known of the task. `model` None: the kind's first model that answers with tasks."""

    kind: str
    task_id: str
    environment: str
    model: str | None = None
    custom_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def adopt_task(
    jobs: Jobs,
    request: AdoptRequest,
    taker: Taker,
    *,
    kinds: Mapping[str, Kind],
    task_lives: Mapping[str, timedelta],
    actor: str,
    reason: str,
) -> Adopted:
    """Make a job in `processing` of a task submitted elsewhere; the same task again answers the same job.

    Its submission has no price of ours and counts for slots. Raises UnknownKind, InvalidParams, and Conflict for a
    model that is answered at once.
    """
    kind, model = check_adoption(request, kinds)
    batch = _make_batch(request, taker)
    adoption = Adoption(
        batch=batch,
        job=_make_job(request, kind, model, taker, batch),
        task_id=request.task_id,
        assumed_life=task_lives.get(kind.name, kind.assumed_task_life),
        actor=actor,
        reason=reason,
    )
    return jobs.adopt(adoption)


def check_adoption(request: AdoptRequest, kinds: Mapping[str, Kind]) -> tuple[Kind, str]:
    """Return the kind and the model whose slots the task counts for. Raises as `adopt_task` does."""
    check_task_id(request.task_id)
    _check_labels(request)
    kind = _find_kind(kinds, request.kind)
    model = _find_model(kind, request.model)
    require_tasks(kinds, kind.name, model)
    return kind, model


def _check_labels(request: AdoptRequest) -> None:
    """As a job file's line is checked: both are columns that people search and shells show."""
    faults = check_custom_id(request.custom_id) if request.custom_id is not None else []
    faults += check_tags(request.tags)[1]
    if wrong := [fault for fault in faults if not fault.is_warning]:
        raise InvalidParams(wrong)


def _find_kind(kinds: Mapping[str, Kind], name: str) -> Kind:
    if name not in kinds:
        raise UnknownKind(f"there is no kind {name}; the kinds are {', '.join(sorted(kinds))}")
    return kinds[name]


def _find_model(kind: Kind, wanted: str | None) -> str:
    """Return the model, whose slots the task counts for."""
    if wanted is None:
        names = [kind.default_model, *kind.models]
        found = next((name for name in names if kind.gives_task(name)), None)
        if found is None:
            raise Conflict(f"{kind.name} jobs are answered at once: no task of theirs can be adopted")
        return found
    if wanted not in kind.models:
        near = get_close_matches(wanted, kind.models, n=1)
        hint = f"did you mean {near[0]}?" if near else f"its models are {', '.join(kind.models)}"
        raise InvalidParams([Fault("unknown_model", "model", f"{kind.name} has no model {wanted}", hint)])
    return wanted


def _make_batch(request: AdoptRequest, taker: Taker) -> Batch:
    """A batch of one, named by its task: two who adopt it at once meet at its unique key."""
    identity = json.dumps(["adopted", request.environment, taker.owner, taker.credential, request.task_id])
    now = taker.clock.now()
    return Batch(
        id=make_id(BATCH, now=now, rng=taker.rng),
        owner=taker.owner,
        name=request.kind,
        identity_sha256=hashlib.sha256(identity.encode()).hexdigest(),
        environment=request.environment,
        archive_url=taker.store.url,
        line_count=1,
        is_intake_done=True,
        created_at=now,
    )


def _make_job(request: AdoptRequest, kind: Kind, model: str, taker: Taker, batch: Batch) -> NewJob:
    return NewJob(
        id=make_id(JOB, now=batch.created_at, rng=taker.rng),
        kind=kind.name,
        model=model,
        body={},  # there is no request of ours: it can never be sent (Job.has_request)
        body_sha256=hashlib.sha256(batch.identity_sha256.encode()).hexdigest(),
        input={},
        credential=taker.credential,
        archive_url=taker.store.url,
        archive_class=kind.archive_class,
        owner=taker.owner,
        batch_id=batch.id,
        line_number=1,
        custom_id=request.custom_id,
        tags=request.tags,
    )
