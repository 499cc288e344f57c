"""How a job stands, in words: the clause of `status_reason`, the sentence of `jobs why`, and what to do on failure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType

from orchestrator.domain import codes
from orchestrator.domain.advice import Catalogue, Source, Then
from orchestrator.domain.decide.restore import REASON as RESTORED
from orchestrator.domain.job import RESTORED_CODES, RESTORED_QUEUED, Job
from orchestrator.domain.kind import Kind
from orchestrator.domain.models import UNTIL_RESUMED
from orchestrator.domain.progress import AnyHold, BudgetHold, SlotHolder, SlotsHold, UnknownsHold
from orchestrator.domain.states import State
from orchestrator.services.batches import show_micros

NO_KINDS: Mapping[str, Kind] = MappingProxyType({})
OURS = Catalogue(codes.entries())
REFUSALS = frozenset({"invalid_params", "content_policy"})
"""Failures of which the provider's own code says more than ours."""
SOURCES: Mapping[State, tuple[Source, ...]] = {
    State.QUEUED: (Source.PROVIDER, Source.SUBMISSION),
    State.PROCESSING: (Source.PROVIDER,),
    State.ARCHIVING: (Source.LINK, Source.ARCHIVE),
}
"""Where the trouble of a job that goes on by itself comes from."""
MOST_NAMED = 5
_CODE = re.compile(r"(?:manifest\.json could not be stored: )?(\w+): ")


def describe(job: Job, *, now: datetime, kinds: Mapping[str, Kind] = NO_KINDS, hold: AnyHold | None = None) -> str:
    """Return one clause on where the job stands and when it moves. `hold`: a pause or budget known to keep it; of a kind
    that is not among `kinds` it is taken that it gives tasks.
    """
    match job.state:
        case State.QUEUED:
            return _describe_queued(job, now, hold)
        case State.SUBMITTING:
            after = "; it is cancelled unless the provider takes it" if job.is_cancelling else ""
            return f"the request is being sent to the provider{after}"
        case State.PROCESSING:
            return _describe_processing(job, now)
        case State.ARCHIVING:
            return _describe_archiving(job, now)
        case State.SUCCEEDED if job.erased_at is not None:
            return f"succeeded; a retention rule took its results away on {job.erased_at:%Y-%m-%d}"
        case State.SUCCEEDED:
            count = sum(output.stored is not None for output in job.outputs)
            return f"{_count(count, 'output')} archived and verified" if count else "archived and verified"
        case State.FAILED:
            return job.failure_message or job.failure_code or "failed"
        case State.CANCELLED:
            return "cancelled" if job.provider_task_id is None else "cancelled; what the paid task made is kept"
        case State.NEEDS_REVIEW:
            return _describe_review(job, kinds)


def explain(job: Job, *, now: datetime, kinds: Mapping[str, Kind] = NO_KINDS, hold: AnyHold | None = None) -> str:
    """Return one sentence: what the job waits for and when it will move."""
    return f"{job.id} is {job.state.replace('_', ' ')}: {describe(job, now=now, kinds=kinds, hold=hold)}."


def advise(job: Job, kinds: Mapping[str, Kind]) -> str | None:
    """Return what a person should do about a job that failed, was cancelled or is held; None for any other."""
    if job.state is State.NEEDS_REVIEW:
        return _advise_review(job, kinds)
    code = job.failure_code if job.state is State.FAILED else str(job.state)
    theirs = _ask_kind(job, kinds) if code in REFUSALS else None
    entry = OURS.find(code, Source.JOB)
    return theirs or (entry.advice if entry else None)


def advise_waiting(job: Job, catalogue: Catalogue, *, hold: AnyHold | None = None) -> str | None:
    """Return what a person should do about what keeps a job that goes on by itself; None when nothing does."""
    if hold is not None:
        code = hold.code
    else:
        found = _CODE.match(job.last_error or "")
        code = found[1] if found else None
    sources = SOURCES.get(job.state)
    entry = catalogue.find(code, *sources) if sources else None
    if entry is not None and job.state is State.PROCESSING and entry.then in (Then.HELD, Then.FAILED):
        return codes.ASKED_AGAIN  # what would settle a paid call says nothing of a question about its task
    return entry.advice if entry else None


def _advise_review(job: Job, kinds: Mapping[str, Kind]) -> str:
    if job.is_held_by_restore and (own := _find_own_code(job)) is not None:
        return _advise_review(replace(job, provider_code=own), kinds)
    if _is_answered_at_once(job, kinds) and job.provider_code != RESTORED_QUEUED:
        return codes.TAKE_UP if any(s.is_paid_and_open for s in job.submissions) else codes.LOOK_AT_BILL
    entry = OURS.find(job.provider_code, Source.SUBMISSION)
    if entry is not None:
        return entry.advice
    is_doubtful = any(s.is_unsettled for s in job.submissions) or job.provider_task_id is None
    if is_doubtful:
        return _ask_kind(job, kinds) or codes.LOOK_AT_PROVIDER
    return codes.ASK_AGAIN


def _find_own_code(job: Job) -> str | None:
    """Return what an unexplained call of a job says itself, where a restore has marked the job."""
    codes_of_calls = (s.provider_code for s in reversed(job.submissions) if s.is_unsettled)
    return next((code for code in codes_of_calls if code is not None and code not in RESTORED_CODES), None)


def _ask_kind(job: Job, kinds: Mapping[str, Kind]) -> str | None:
    kind = kinds.get(job.kind)
    return kind.advise(job.provider_code) if kind and job.provider_code else None


def _is_answered_at_once(job: Job, kinds: Mapping[str, Kind]) -> bool:
    """Such a model names no task: there is nothing to look for by an id, or to attach."""
    kind = kinds.get(job.kind)
    return kind is not None and not kind.gives_task(job.model)


def _describe_queued(job: Job, now: datetime, hold: AnyHold | None) -> str:
    if job.waiting_on_count:
        return _describe_waiting(job)
    if isinstance(hold, BudgetHold):
        return f"paused: budget; {describe_budget(hold)}"
    if isinstance(hold, UnknownsHold | SlotsHold):
        return describe_stop(hold, job_id=job.id)
    if hold is not None:
        whom = "the account" if hold.is_credential else f"model {hold.name}"
        if hold.until >= UNTIL_RESUMED:
            return f"{whom} is paused {hold.message}; `orchestrator models resume {hold.name}` lets it go on"
        why = f" ({hold.message or hold.code})" if hold.message or hold.code else ""
        return f"{whom} is paused{why}; submissions go on {_in(hold.until, now)}"
    refused = f"the last try was refused ({job.last_error})" if job.last_error else ""
    if _is_ahead(job, now):
        return f"{refused}; next try {_when(job, now)}" if refused else f"it starts at {_moment(job.due_at)}"
    return f"it waits for a free slot of {job.model}{f'; {refused}' if refused else ''}"


def _describe_archiving(job: Job, now: datetime) -> str:
    if not (job.last_error and _is_ahead(job, now)):
        return "its outputs are being fetched and archived"
    ends = [output.source_expires_at for output in job.outputs if not output.is_settled and output.source_expires_at]
    dies = min(ends, default=None)
    life = "" if dies is None else f"; its link dies {_in(dies, now)}" if dies > now else "; its link's life is over"
    return f"not archived yet ({job.last_error}); next try {_when(job, now)}{life}"


def _describe_waiting(job: Job) -> str:
    """Names are there where they were loaded; lists of jobs say how many."""
    if not job.awaited:
        return f"it waits for {_count(job.waiting_on_count, 'other job')} to succeed"
    named = [f"{parent.name} ({parent.state or 'not taken in yet'})" for parent in job.awaited[:MOST_NAMED]]
    rest = len(job.awaited) - len(named)
    more = f" and {_count(rest, 'other')}" if rest else ""
    held = any(parent.state is State.NEEDS_REVIEW for parent in job.awaited)
    return f"it waits for {', '.join(named)}{more}{'; a person settles what needs review' if held else ''}"


def describe_budget(hold: BudgetHold) -> str:
    """Return one clause on why a budget lets nothing more through."""
    spent = f"of {show_micros(hold.limit_micros)} for {hold.batch_id}, {show_micros(hold.charged_micros)}"
    if hold.next_micros is None:
        return f"{spent} is charged or may be, and the next job has no table price"
    return f"{spent} is charged or may be, and the next job costs {show_micros(hold.next_micros)}"


def describe_stop(hold: UnknownsHold | SlotsHold, *, job_id: str | None = None) -> str:
    """Return one clause on why nothing is submitted and until when; `job_id`: of whom it is told."""
    if isinstance(hold, UnknownsHold):
        why = f"{_count(hold.count, 'paid call')} ended unknown within an hour (at {hold.limit} nothing more is submitted)"
        return f"{why}; submissions go on at {_moment_up(hold.until)}"
    named = [_describe_holder(holder, job_id) for holder in hold.holders[:MOST_NAMED]]
    rest = len(hold.holders) - len(named)
    more = f" and {_count(rest, 'other')}" if rest else ""
    verb = "is" if len(hold.holders) == 1 else "are"
    taken = f"{len(hold.holders)} of {hold.slots} {verb} held by unexplained calls that may still run at the provider"
    what = f"a free slot of {hold.name}" if hold.name else f"a place under --concurrency {hold.slots}"
    return f"it waits for {what}; {taken}: {', '.join(named)}{more}"


def _describe_holder(holder: SlotHolder, job_id: str | None) -> str:
    whose = f"its own call {holder.number}" if holder.job_id == job_id else f"call {holder.number} of {holder.job_id}"
    return f"{whose} until {_moment_up(holder.until)}"


def _describe_processing(job: Job, now: datetime) -> str:
    next_check = _describe_next_check(job, now)
    cancelling = "; it ends as cancelled, since a paid task cannot be stopped" if job.is_cancelling else ""
    if job.missing_since is not None:
        return f"the provider has not known the task since {_moment(job.missing_since)}; {next_check}{cancelling}"
    if job.last_error:
        return f"the provider was asked and could not tell ({job.last_error}); {next_check}{cancelling}"
    return f"the provider is working; {next_check}{cancelling}"


def _describe_next_check(job: Job, now: datetime) -> str:
    """A leased row's due_at is its lease's end: whoever holds it knows when it asks."""
    if job.lease_token is not None:
        return "a process keeps asking"
    return f"next check {_when(job, now)}" if _is_ahead(job, now) else "it is being asked now"


def _describe_review(job: Job, kinds: Mapping[str, Kind]) -> str:
    why = f" ({job.last_error})" if job.last_error else ""
    if job.is_held_by_restore and job.last_error != RESTORED:
        why += f"; it was held already when the database was {RESTORED}"
    if any(s.is_unsettled for s in job.submissions) or not job.submissions:
        ways = "a person attaches its task id, resubmits it or writes it off"
        if _is_answered_at_once(job, kinds):
            ways = "a person resubmits it (a new charge) or writes it off"
        return f"nobody can know whether the provider took it{why}; {ways}, and a late answer settles it by itself"
    return f"it needs a person{why}"


def _is_ahead(job: Job, now: datetime) -> bool:
    return job.due_at is not None and job.due_at > now


def _when(job: Job, now: datetime) -> str:
    return _in(job.due_at, now) if job.due_at else "now"


def _in(moment: datetime, now: datetime) -> str:
    return f"in {_length(moment - now)}" if moment > now else "now"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "now"


def _moment_up(moment: datetime) -> str:
    """To the minute that is certainly over it: at a time that is told, it is true."""
    return _moment(moment + timedelta(seconds=59))


def _length(span: timedelta) -> str:
    seconds = max(round(span.total_seconds()), 1)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
