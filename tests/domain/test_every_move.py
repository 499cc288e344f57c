"""Every row of TRANSITIONS is a move that some rule makes, and no rule makes another (design section 6).

The rules are asked about every state with every outcome and with whatever else a decision looks at; what they answer is
collected and compared with the table.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.decide import (
    Decision,
    Evidence,
    Standing,
    decide,
    decide_cancel,
    decide_dependent,
    decide_poisoned,
    decide_resubmit,
    decide_retry,
    decide_write_off,
    settle_ended,
    settle_late,
)
from orchestrator.domain.decide.late import settle
from orchestrator.domain.decide.restore import decide_restore_hold, decide_restore_release
from orchestrator.domain.decide.submit import decide_submit
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import RESTORED_QUEUED, FinalAnswer, Job, Role, Submission
from orchestrator.domain.outcomes import (
    AnswerComplete,
    ArchiveStep,
    NothingUsable,
    Outcome,
    OutputFailed,
    OutputLinkDead,
    OutputStored,
    ProviderFailed,
    SubmitOutcome,
    TaskAccepted,
    TaskMissing,
)
from orchestrator.domain.states import TRANSITIONS, State, Trigger
from tests.domain.samples import (
    HOUR,
    NOW,
    POLL_OUTCOMES,
    RNG,
    RULES,
    SUBMIT_OUTCOMES,
    TASK,
    VERDICTS,
    job_in,
    make_file,
    make_output,
    make_submission,
)

Move = tuple[State | None, Trigger, State]

BY_THE_DATABASE: frozenset[Move] = frozenset(
    {
        (None, Trigger.ACCEPTED, State.QUEUED),
        (None, Trigger.ADOPTED, State.PROCESSING),
        (None, Trigger.REBUILT, State.SUCCEEDED),
        (None, Trigger.REBUILT, State.CANCELLED),
        (State.QUEUED, Trigger.SUBMISSION_STARTED, State.SUBMITTING),
    }
)
"""Intake, adopting, rebuilding and the submit claim insert or take rows; no rule is asked."""

LONG_AGO = NOW - timedelta(days=9)


def dead(output_id: str = "out_0", link: str = "https://cdn.example/0.mp4") -> OutputLinkDead:
    return OutputLinkDead(output_id, hashlib.sha256(link.encode()).hexdigest(), "410")


def tried(number: int, name: str, **changes: object) -> Submission:
    outcome: SubmitOutcome = SUBMIT_OUTCOMES[name]
    known = make_submission(
        number,
        intent_at=LONG_AGO,
        verdict=VERDICTS[name],
        task_id=f"task-{number}" if isinstance(outcome, TaskAccepted) else None,
        result=outcome.outputs if isinstance(outcome, AnswerComplete) else (),
        provider_code=getattr(outcome, "code", None),
    )
    return replace(known, **changes)  # type: ignore[arg-type]  # fields by name


def ask(rule: Callable[[], Decision | None]) -> Iterator[Decision]:
    """Yield what the rule decides; a refusal in words is no move."""
    try:
        decision = rule()
    except Conflict:
        return
    if decision is not None:
        yield decision


def of_submitting() -> Iterator[Decision]:
    for outcome, cancelling in itertools.product(SUBMIT_OUTCOMES.values(), (None, NOW)):
        job = job_in(State.SUBMITTING, cancel_requested_at=cancelling)
        yield decide_submit(job, outcome, RULES, NOW, RNG)
    for name in ("input missing", "input changed"):
        yield decide_submit(job_in(State.QUEUED), SUBMIT_OUTCOMES[name], RULES, NOW, RNG)


def of_polling() -> Iterator[Decision]:
    asked = job_in(State.PROCESSING, ask_count=RULES.nothing_usable_asks - 1, missing_since=LONG_AGO)
    for job, outcome in itertools.product((job_in(State.PROCESSING), asked), POLL_OUTCOMES.values()):
        yield decide(job, outcome, RULES, NOW, RNG)


def of_archiving() -> Iterator[Decision]:
    open_one = make_output(0)
    spent = replace(open_one, ask_count=len(RULES.ask_delays))
    known = replace(open_one, dead_links=(dead().link_sha256,))
    steps: list[tuple[Job, Outcome]] = [
        (job_in(State.ARCHIVING, outputs=(output,), cancel_requested_at=cancelling), ArchiveStep((result,)))
        for output, cancelling, result in (
            (open_one, None, OutputStored("out_0", make_file())),
            (open_one, NOW, OutputStored("out_0", make_file())),
            (open_one, None, OutputFailed("out_0", "timeout", "slow")),
            (open_one, None, dead()),
            (spent, None, dead()),
            (known, None, dead()),
        )
    ]
    for job, outcome in steps:
        yield decide(job, outcome, RULES, NOW, RNG)


def of_several_calls() -> Iterator[Decision]:
    others = ((), (tried(2, "unknown"),), (tried(2, "task accepted"),))
    lost = job_in(State.PROCESSING, missing_since=LONG_AGO, ask_count=RULES.nothing_usable_asks - 1)
    ends: list[tuple[Job, Outcome]] = [
        (lost, ProviderFailed("1301", "sensitive")),
        (lost, TaskMissing("1222", "no such task")),
        (lost, NothingUsable("SUCCESS without a link")),
    ]
    output = make_output(0, ask_count=len(RULES.ask_delays))
    known = replace(output, dead_links=(dead().link_sha256,))
    ends += [(job_in(State.ARCHIVING, outputs=(each,)), ArchiveStep((dead(),))) for each in (output, known)]
    for (job, outcome), more in itertools.product(ends, others):
        calls = (tried(1, "task accepted", task_id=TASK), *more)
        whole = replace(job, submissions=calls, submission_count=len(calls))
        yield settle_ended(whole, decide(whole, outcome, RULES, NOW, RNG), NOW)


def of_evidence() -> Iterator[Decision]:
    ended = [tried(2, "task accepted", final_at=NOW, final_answer=answer) for answer in FinalAnswer]
    states = (State.SUBMITTING, State.NEEDS_REVIEW, State.QUEUED, State.FAILED)
    calls = ((), *((each,) for each in ended))
    for state, name, more, cancelling in itertools.product(states, SUBMIT_OUTCOMES, calls, (None, NOW)):
        job = job_in(
            state,
            submissions=(tried(1, name), *more),
            outputs=(make_output(0, Role.VIDEO, is_lost=True),) if more else (),
            provider_task_id=None,
            cancel_requested_at=cancelling,
        )
        about = Evidence("sub_1", SUBMIT_OUTCOMES[name])
        rule = settle if state is State.SUBMITTING else settle_late
        if (decision := rule(job, about, RULES, NOW, RNG)) is not None:
            yield decision


def of_persons() -> Iterator[Decision]:
    outputs = ((), (make_output(0, stored=make_file()),), (make_output(0, source_expires_at=NOW + HOUR),))
    for state, made, task in itertools.product(State, outputs, (None, TASK)):
        job = job_in(state, outputs=made, provider_task_id=task, submissions=(tried(1, "unknown"),))
        yield from ask(lambda job=job: decide_cancel(job, NOW))  # type: ignore[misc]
        yield from ask(
            lambda job=job: decide_retry(job, RULES, NOW, last_final_answer=None, may_charge=True)  # type: ignore[misc]
        )
        yield from ask(lambda job=job: decide_resubmit(job, RULES, NOW))  # type: ignore[misc]
        yield from ask(lambda job=job: decide_write_off(job, NOW))  # type: ignore[misc]


def of_upkeep() -> Iterator[Decision]:
    for state in (State.QUEUED, State.SUBMITTING, State.PROCESSING, State.ARCHIVING):
        yield decide_poisoned(job_in(state, death_count=5), NOW)
    for state in (State.QUEUED, State.SUBMITTING, State.NEEDS_REVIEW):
        yield decide_restore_hold(job_in(state))
    yield decide_restore_release(job_in(State.NEEDS_REVIEW, provider_code=RESTORED_QUEUED), NOW, not_before=None)
    for job in (job_in(State.QUEUED), job_in(State.FAILED, failure_code="dependency_failed")):
        for standing in (Standing(0), Standing(1, "its parent")):
            yield from ask(lambda job=job, standing=standing: decide_dependent(job, standing, NOW))  # type: ignore[misc]


RULE_BOOK = (of_submitting, of_polling, of_archiving, of_several_calls, of_evidence, of_persons, of_upkeep)


def test_every_listed_move_is_made_by_a_rule() -> None:
    """A row that nothing makes is a promise that nothing keeps. (An unlisted move cannot be built at all.)"""
    made: set[Move] = {(d.source, d.trigger, d.target) for rules in RULE_BOOK for d in rules()}
    listed: set[Move] = {(t.source, t.trigger, t.target) for t in TRANSITIONS}
    assert not listed - made - BY_THE_DATABASE
    assert not made - listed
