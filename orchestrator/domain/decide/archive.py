"""What follows one pass over the outputs of a job (design sections 6 and 8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from urllib.parse import urlsplit

from orchestrator.domain.decide.decision import Decision, JobPatch, failed
from orchestrator.domain.job import Job, Output
from orchestrator.domain.outcomes import ArchiveStep, OutputFailed, OutputLinkDead, OutputResult, OutputStored
from orchestrator.domain.retry import Rules, later
from orchestrator.domain.states import State, Trigger

MINIMUM_WAIT = timedelta(seconds=1)
SOURCE_HOSTS = "source_hosts"
"""Name in an event's data: output id to host."""


def decide_archive(job: Job, step: ArchiveStep, rules: Rules, now: datetime, rng: Random) -> Decision:
    """Return what follows for a job in `archiving` whose `outputs` are loaded.

    Mandatory outputs rule; an optional one (cover) is given up when its link is dead or after a few tries. A proven
    loss fails the job only once no other mandatory output can still be fetched: what was paid for is kept. The event
    names the host of every output that was stored: links are forgotten, and the papers say where a file came from.
    """
    decision = _decide(job, step, rules, now, rng)
    hosts = {r.output_id: r.source_host for r in step.results if isinstance(r, OutputStored) and r.source_host}
    return replace(decision, data={**decision.data, SOURCE_HOSTS: hosts}) if hosts else decision


def _decide(job: Job, step: ArchiveStep, rules: Rules, now: datetime, rng: Random) -> Decision:
    results = {result.output_id: result for result in step.results}
    given_up = [o for o in job.outputs if o.is_optional and _is_given_up(o, results.get(o.id), rules)]
    pending = [o for o in job.outputs if o not in given_up and _is_open(o, results.get(o.id))]
    expired = [o for o in pending if _is_proven_lost(job, o, results.get(o.id))]
    lost = tuple(o.id for o in (*given_up, *expired))
    pending = [o for o in pending if o not in expired]
    missing = [o for o in job.outputs if not o.is_optional and (o in expired or o.is_lost)]
    if missing and all(o.is_optional for o in pending):
        return _carrying(_expired(job, missing[0], results.get(missing[0].id), now), step, lost)
    if all(o.is_optional for o in job.outputs):
        reason = "the provider's answer named no output that counts"
        return _carrying(Decision(job.state, Trigger.NOTHING_USABLE, State.NEEDS_REVIEW, None, reason), step, lost)
    if not pending and step.error is None:
        return _done(job, step, lost, now)
    asks = _find_asks(job, pending, results, rules)
    spent = next((o for o, _ in asks if _is_spent(o, results.get(o.id), rules)), None)
    if spent is not None:
        return _carrying(_hold(job, spent, results.get(spent.id)), step, lost)
    if asks:
        return _ask(job, asks, step, lost, rules, now)
    return _again(job, step, pending, results, lost, rules, now, rng)


def _is_open(output: Output, result: OutputResult | None) -> bool:
    return not output.is_settled and not isinstance(result, OutputStored)


def _is_given_up(output: Output, result: OutputResult | None, rules: Rules) -> bool:
    if isinstance(result, OutputLinkDead):
        return True
    return isinstance(result, OutputFailed) and output.attempt_count + 1 >= rules.optional_tries


def _done(job: Job, step: ArchiveStep, lost: tuple[str, ...], now: datetime) -> Decision:
    patch = JobPatch(finished_at=now, attempt_count=0, last_error=None)
    target, trigger, reason = State.SUCCEEDED, Trigger.ARCHIVED, "every output is archived and verified"
    if job.is_cancelling:
        target, trigger = State.CANCELLED, Trigger.CANCELLED
        reason = "cancelled while the paid task ran; its outputs were archived"
    data = {"lost_output_ids": list(lost)} if lost else {}
    return Decision(
        job.state,
        trigger,
        target,
        None,
        reason,
        patch,
        data,
        output_results=step.results,
        lost_output_ids=lost,
    )


def _is_proven_lost(job: Job, output: Output, result: OutputResult | None) -> bool:
    """A mandatory output is lost when its link is dead and there is nobody to ask, or asking gave the same link."""
    if output.is_optional or not isinstance(result, OutputLinkDead):
        return False
    return job.provider_task_id is None or result.link_sha256 in output.dead_links


def _expired(job: Job, output: Output, result: OutputResult | None, now: datetime) -> Decision:
    why = "there is no task to ask again" if job.provider_task_id is None else "the provider gave the same link again"
    expires = output.source_expires_at.isoformat() if output.source_expires_at else "unknown"
    host = urlsplit(output.source_url).hostname if output.source_url else None
    last = f"{result.message}, and {why}" if isinstance(result, OutputLinkDead) else "its loss was proven before"
    return failed(
        job,
        Trigger.OUTPUT_EXPIRED,
        now,
        code="output_expired",
        message=f"output {output.index} ({output.role}) is lost: {last}; link of {host or 'an unknown host'}, expiry {expires}",
        cost=job.cost_final_micros,
        data={
            "output_id": output.id,
            "source_host": host,
            "source_expires_at": output.source_expires_at.isoformat() if output.source_expires_at else None,
            "is_expiry_assumed": output.is_expiry_assumed,
            "cost_micros": job.cost_final_micros,
            "currency": job.price.currency if job.price else None,
        },
    )


def _find_asks(
    job: Job, pending: list[Output], results: dict[str, OutputResult], rules: Rules
) -> list[tuple[Output, str]]:
    """Return the outputs that need a fresh link, each with why: its link is dead, or gave something else thrice."""
    asks = []
    for output in pending:
        match results.get(output.id):
            case OutputLinkDead(message=message):
                asks.append((output, message))
            case OutputFailed(message=message, is_suspect=True) if job.provider_task_id is not None:
                if (output.attempt_count + 1) % rules.suspect_tries_per_link == 0:
                    asks.append((output, message))
    return asks


def _is_spent(output: Output, result: OutputResult | None, rules: Rules) -> bool:
    return isinstance(result, OutputLinkDead) and output.ask_count >= len(rules.ask_delays)


def _hold(job: Job, output: Output, result: OutputResult | None) -> Decision:
    message = result.message if isinstance(result, OutputLinkDead) else "its link is dead"
    reason = f"output {output.index}: {message}, after {output.ask_count} fresh links"
    return Decision(job.state, Trigger.NOTHING_USABLE, State.NEEDS_REVIEW, None, reason, JobPatch(last_error=message))


def _ask(
    job: Job, asks: list[tuple[Output, str]], step: ArchiveStep, lost: tuple[str, ...], rules: Rules, now: datetime
) -> Decision:
    """One question answers for all of them; the output asked for most often sets the wait."""
    wait = max(rules.ask_delays[min(output.ask_count, len(rules.ask_delays) - 1)] for output, _ in asks)
    reason = "; ".join(f"output {output.index}: {message}" for output, message in asks)
    reason += "; a fresh link is asked for"
    asked = tuple(output.id for output, _ in asks)
    return Decision(
        job.state,
        Trigger.FRESH_LINK_ASKED,
        State.PROCESSING,
        now + wait,
        reason,
        JobPatch(attempt_count=0, ask_count=0, last_error=reason),
        {"output_ids": list(asked)},
        output_results=step.results,
        asked_output_ids=asked,
        lost_output_ids=lost,
    )


def _again(
    job: Job,
    step: ArchiveStep,
    open_outputs: list[Output],
    results: dict[str, OutputResult],
    lost: tuple[str, ...],
    rules: Rules,
    now: datetime,
    rng: Random,
) -> Decision:
    attempt = job.attempt_count + 1
    failures = [r for o in open_outputs if isinstance(r := results.get(o.id), OutputFailed)]
    waits = [f.retry_after for f in failures if f.retry_after is not None]
    wait = later(now, rules.archive.delay(attempt, rng), at_least=max(waits, default=None))
    expiries = [e for o in open_outputs if (e := o.source_expires_at) is not None and e > now]
    if expiries:  # min(backoff, time left): try once more before the next link dies
        wait = min(wait, max(now + MINIMUM_WAIT, min(expiries) - (min(expiries) - now) / 2))
    message = step.error or (
        f"{failures[0].code}: {failures[0].message}" if failures else "not every output was fetched"
    )
    patch = JobPatch(attempt_count=attempt, last_error=message)
    decision = Decision(job.state, Trigger.ARCHIVE_FAILED, State.ARCHIVING, wait, message, patch, {"attempt": attempt})
    return _carrying(decision, step, lost)


def _carrying(decision: Decision, step: ArchiveStep, lost: tuple[str, ...]) -> Decision:
    return replace(decision, output_results=step.results, lost_output_ids=lost)
