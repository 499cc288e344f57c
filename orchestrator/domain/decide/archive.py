"""What follows one pass over the outputs of a job (design sections 6 and 8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from orchestrator.domain.decide.decision import Decision, JobPatch, failed
from orchestrator.domain.job import Job, Output
from orchestrator.domain.outcomes import ArchiveStep, OutputFailed, OutputLinkDead, OutputResult, OutputStored
from orchestrator.domain.retry import Rules, later
from orchestrator.domain.states import State, Trigger

MINIMUM_WAIT = timedelta(seconds=1)


def decide_archive(job: Job, step: ArchiveStep, rules: Rules, now: datetime, rng: Random) -> Decision:
    """Return what follows for a job in `archiving` whose `outputs` are loaded.

    Mandatory outputs rule; an optional one (cover) is given up when its link is dead or after a few tries.
    """
    results = {result.output_id: result for result in step.results}
    lost = tuple(o.id for o in job.outputs if o.is_optional and _is_given_up(o, results.get(o.id), rules))
    open_outputs = [o for o in job.outputs if o.id not in lost and _is_open(o, results.get(o.id))]
    if not open_outputs and step.error is None:
        return _done(job, step, lost, now)
    for output in open_outputs:
        decision = _about_link(job, output, results.get(output.id), step, lost, rules, now)
        if decision is not None:
            return decision
    return _again(job, step, open_outputs, results, lost, rules, now, rng)


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


def _about_link(
    job: Job,
    output: Output,
    result: OutputResult | None,
    step: ArchiveStep,
    lost: tuple[str, ...],
    rules: Rules,
    now: datetime,
) -> Decision | None:
    """Return the move that a dead or suspect link of a mandatory output calls for, or None."""
    if isinstance(result, OutputFailed):
        tries = output.attempt_count + 1
        is_worn = result.is_suspect and tries % rules.suspect_tries_per_link == 0
        if not (is_worn and job.provider_task_id):
            return None
        delay = (
            rules.ask_delays[-1] if output.ask_count >= len(rules.ask_delays) else rules.ask_delays[output.ask_count]
        )
        reason = f"output {output.index}: {result.message}; a fresh link is asked for"
        return _ask(job, output, step, lost, now + delay, reason)
    if not isinstance(result, OutputLinkDead):
        return None
    if job.provider_task_id is None or result.link_sha256 in output.dead_links:
        why = (
            "there is no task to ask again" if job.provider_task_id is None else "the provider gave the same link again"
        )
        expires = output.source_expires_at.isoformat() if output.source_expires_at else "unknown"
        decision = failed(
            job,
            Trigger.OUTPUT_EXPIRED,
            now,
            code="output_expired",
            message=f"output {output.index} ({output.role}) is lost: {result.message}, and {why}; link expiry {expires}",
            cost=job.cost_final_micros,
            data={"output_id": output.id},
        )
        return _carrying(decision, step, (*lost, output.id))
    if output.ask_count >= len(rules.ask_delays):
        reason = f"output {output.index}: {output.ask_count} different links were dead"
        patch = JobPatch(last_error=result.message)
        decision = Decision(job.state, Trigger.NOTHING_USABLE, State.NEEDS_REVIEW, None, reason, patch)
        return _carrying(decision, step, lost)
    due = now + rules.ask_delays[output.ask_count]
    return _ask(job, output, step, lost, due, f"output {output.index}: {result.message}; a fresh link is asked for")


def _ask(job: Job, output: Output, step: ArchiveStep, lost: tuple[str, ...], due: datetime, reason: str) -> Decision:
    patch = JobPatch(attempt_count=0, ask_count=0, last_error=reason)
    return Decision(
        job.state,
        Trigger.FRESH_LINK_ASKED,
        State.PROCESSING,
        due,
        reason,
        patch,
        {"output_id": output.id},
        output_results=step.results,
        asked_output_ids=(output.id,),
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
    expiries = [o.source_expires_at for o in open_outputs if o.source_expires_at is not None]
    if expiries and min(expiries) > now:  # min(backoff, time left): try once more before the link dies
        wait = min(wait, max(now + MINIMUM_WAIT, min(expiries) - (min(expiries) - now) / 2))
    message = step.error or (
        f"{failures[0].code}: {failures[0].message}" if failures else "not every output was fetched"
    )
    patch = JobPatch(attempt_count=attempt, last_error=message)
    decision = Decision(job.state, Trigger.ARCHIVE_FAILED, State.ARCHIVING, wait, message, patch, {"attempt": attempt})
    return _carrying(decision, step, lost)


def _carrying(decision: Decision, step: ArchiveStep, lost: tuple[str, ...]) -> Decision:
    return replace(decision, output_results=step.results, lost_output_ids=lost)
