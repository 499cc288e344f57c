"""What follows a pass over a job's outputs: dead links, suspect bytes, covers, waiting (design sections 6 and 8, E)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.domain.decide import Decision, decide
from orchestrator.domain.job import Job, Output, Role
from orchestrator.domain.outcomes import ArchiveStep, OutputFailed, OutputResult, OutputStored
from orchestrator.domain.states import State, Trigger
from tests.domain.samples import (
    HOUR,
    MINUTE,
    NOW,
    PRICE,
    RNG,
    RULES,
    SECOND,
    TEXT,
    dead,
    job_in,
    make_file,
    make_output,
    sha,
    stored,
)

ASK_DELAYS = [timedelta(0), 30 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR]
COVER = make_output(1, Role.COVER)
NO_TASK: dict[str, object] = {"provider_task_id": None}


def failed(index: int = 0, *, is_suspect: bool = False, retry_after: timedelta | None = None) -> OutputFailed:
    return OutputFailed(f"out_{index}", "http_503", "not now", retry_after, is_suspect=is_suspect)


def archiving(*outputs: Output, **changes: object) -> Job:
    return job_in(State.ARCHIVING, outputs=outputs, **changes)


def after(job: Job, *results: OutputResult, error: str | None = None) -> Decision:
    return decide(job, ArchiveStep(results, error), RULES, NOW, RNG)


def moved(decision: Decision) -> tuple[Trigger, State]:
    return decision.trigger, decision.target


# -- the end -----------------------------------------------------------------------------------------------------


def test_all_outputs_stored_is_success() -> None:
    """Promise 6: succeeded only with every mandatory output read back."""
    decision = after(archiving(make_output(0), make_output(1)), stored(0), stored(1))
    assert moved(decision) == (Trigger.ARCHIVED, State.SUCCEEDED)
    assert decision.patch["finished_at"] == NOW
    assert decision.output_results == (stored(0), stored(1))


def test_what_an_earlier_pass_stored_counts() -> None:
    """D10: outputs are archived one by one; the job is done with the last."""
    first = make_output(0, stored=make_file())
    assert moved(after(archiving(first, make_output(1)), stored(1))) == (Trigger.ARCHIVED, State.SUCCEEDED)


def test_one_output_missing_is_not_success() -> None:
    """D10: the others are kept, the job goes on."""
    decision = after(archiving(make_output(0), make_output(1)), stored(0), failed(1))
    assert moved(decision) == (Trigger.ARCHIVE_FAILED, State.ARCHIVING)
    assert decision.output_results == (stored(0), failed(1))


def test_papers_that_could_not_be_written_are_tried_again() -> None:
    """The outputs are safe and marked so; only the manifest is missing."""
    decision = after(archiving(make_output(0)), stored(0), error="manifest.json could not be stored")
    assert moved(decision) == (Trigger.ARCHIVE_FAILED, State.ARCHIVING)
    assert decision.output_results == (stored(0),)
    assert decision.patch["last_error"] == "manifest.json could not be stored"


@pytest.mark.parametrize("outputs", [(), (COVER,)])
def test_nothing_that_counts_is_never_success(outputs: tuple[Output, ...]) -> None:
    """Promise 6: an answer without a mandatory output is a person's to look at."""
    decision = after(archiving(*outputs), *(stored(o.index) for o in outputs))
    assert moved(decision) == (Trigger.NOTHING_USABLE, State.NEEDS_REVIEW)


def test_a_cancelled_job_keeps_its_outputs() -> None:
    """Design section 6: cancelled instead of succeeded, outputs kept; what was charged stays charged."""
    decision = after(archiving(make_output(0), cancel_requested_at=NOW), stored(0))
    assert moved(decision) == (Trigger.CANCELLED, State.CANCELLED)
    assert decision.output_results == (stored(0),)
    assert "cost_final_micros" not in decision.patch


# -- dead links --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ask_count", "delay"), list(enumerate(ASK_DELAYS)))
def test_a_dead_link_asks_again_after_growing_delays(ask_count: int, delay: timedelta) -> None:
    """E7: 403, 404, 410 ask the provider for a fresh link, after 0 s, 30 s, 5 min, 30 min and 2 h."""
    links = tuple(sha(f"link {n}") for n in range(ask_count))
    decision = after(archiving(make_output(ask_count=ask_count, dead_links=links)), dead(link="new"))
    assert moved(decision) == (Trigger.FRESH_LINK_ASKED, State.PROCESSING)
    assert decision.due_at == NOW + delay
    assert decision.asked_output_ids == ("out_0",)
    assert decision.output_results == (dead(link="new"),)


def test_when_every_fresh_link_was_dead_a_person_looks() -> None:
    """Design section 6: different links, all dead, prove no loss; the job is held, not failed."""
    links = tuple(sha(f"link {n}") for n in range(5))
    decision = after(archiving(make_output(ask_count=5, dead_links=links)), dead(link="another"))
    assert moved(decision) == (Trigger.NOTHING_USABLE, State.NEEDS_REVIEW)
    assert decision.output_results == (dead(link="another"),)


@pytest.mark.parametrize("ask_count", [1, 2, 4, 5])
def test_the_same_dead_link_twice_is_proven_loss(ask_count: int) -> None:
    """E7: the provider has nothing else to give; output_expired, and the price was paid."""
    decision = after(archiving(make_output(ask_count=ask_count, dead_links=(sha("link 1"),))), dead(link="link 1"))
    assert moved(decision) == (Trigger.OUTPUT_EXPIRED, State.FAILED)
    assert decision.patch["failure_code"] == "output_expired"
    assert decision.patch["cost_final_micros"] == PRICE.micros
    assert decision.lost_output_ids == ("out_0",)
    assert "same link" in (decision.patch["failure_message"] or "")


def test_a_proven_loss_names_output_host_end_and_money() -> None:
    """What a person needs to know to ask for it elsewhere, or for the money back."""
    lost = make_output(ask_count=1, dead_links=(sha("link 1"),), source_url="https://cdn.example/0.mp4?sig=x")
    lost = replace(lost, source_expires_at=NOW + HOUR, is_expiry_assumed=True)
    decision = after(archiving(lost), dead(link="link 1"))
    message = decision.patch["failure_message"] or ""
    assert "cdn.example" in message
    assert "sig=x" not in message
    assert decision.data == {
        "output_id": "out_0",
        "source_host": "cdn.example",
        "source_expires_at": (NOW + HOUR).isoformat(),
        "is_expiry_assumed": True,
        "cost_micros": PRICE.micros,
        "currency": PRICE.currency,
    }


def test_the_event_names_the_host_of_what_was_stored() -> None:
    """Links are forgotten, and papers written later still say where a file came from; text has no host."""
    stored = OutputStored("out_0", make_file(), "cdn.example")
    assert after(archiving(make_output(0)), stored).data["source_hosts"] == {"out_0": "cdn.example"}
    assert "source_hosts" not in after(archiving(make_output(0)), OutputStored("out_0", make_file())).data


def test_without_a_task_there_is_nobody_to_ask() -> None:
    """Immediate kinds: a dead link is the end."""
    decision = after(archiving(make_output(0), **NO_TASK), dead())
    assert moved(decision) == (Trigger.OUTPUT_EXPIRED, State.FAILED)
    assert "no task" in (decision.patch["failure_message"] or "")


def test_asking_counts_per_output_and_is_done_once_for_all() -> None:
    """One question answers for every dead link; the output asked for most often sets the wait."""
    job = archiving(make_output(0), make_output(1, ask_count=2), make_output(2))
    decision = after(job, dead(0, "a"), dead(1, "b"), stored(2))
    assert decision.asked_output_ids == ("out_0", "out_1")
    assert decision.due_at == NOW + 5 * MINUTE
    assert stored(2) in decision.output_results


def test_a_proven_loss_waits_for_the_outputs_that_live() -> None:
    """Never lose an output: one that is gone does not abandon the others; the job fails when they are safe."""
    lost = make_output(0, dead_links=(sha("link 1"),))
    decision = after(archiving(lost, make_output(1)), dead(0), failed(1))
    assert moved(decision) == (Trigger.ARCHIVE_FAILED, State.ARCHIVING)
    assert decision.lost_output_ids == ("out_0",)
    then = after(archiving(replace(lost, is_lost=True), make_output(1)), stored(1))
    assert moved(then) == (Trigger.OUTPUT_EXPIRED, State.FAILED)
    assert then.output_results == (stored(1),)


def test_a_loss_recorded_earlier_never_counts_as_archived() -> None:
    """Promise 6: a settled output is not an archived one."""
    decision = after(archiving(make_output(0, is_lost=True)))
    assert moved(decision) == (Trigger.OUTPUT_EXPIRED, State.FAILED)


# -- covers ------------------------------------------------------------------------------------------------------


def test_a_dead_cover_is_an_event_and_the_job_succeeds() -> None:
    """Design section 6: cover outputs are optional; nobody is asked for a fresh one."""
    decision = after(archiving(make_output(0), COVER), stored(0), dead(1))
    assert moved(decision) == (Trigger.ARCHIVED, State.SUCCEEDED)
    assert decision.lost_output_ids == (COVER.id,)
    assert decision.data == {"lost_output_ids": [COVER.id]}


@pytest.mark.parametrize(
    ("attempt_count", "target"), [(0, State.ARCHIVING), (3, State.ARCHIVING), (4, State.SUCCEEDED)]
)
def test_a_cover_that_cannot_be_had_is_given_up(attempt_count: int, target: State) -> None:
    """After five tries the cover is let go."""
    cover = replace(COVER, attempt_count=attempt_count)
    decision = after(archiving(make_output(0, stored=make_file()), cover), failed(1))
    assert decision.target is target
    assert decision.lost_output_ids == ((cover.id,) if target is State.SUCCEEDED else ())


def test_a_cover_does_not_save_a_lost_video() -> None:
    """Only mandatory outputs rule."""
    decision = after(archiving(make_output(0, dead_links=(sha("link 1"),)), COVER), dead(0), failed(1))
    assert moved(decision) == (Trigger.OUTPUT_EXPIRED, State.FAILED)


# -- waiting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt_count", "asks"), [(0, False), (1, False), (2, True), (3, False), (5, True), (8, True)]
)
def test_suspect_bytes_ask_for_a_fresh_link_every_third_time(attempt_count: int, asks: bool) -> None:
    """E5: HTML behind a 200 may be a passing error page; the link itself is doubted every third try."""
    decision = after(archiving(make_output(0, attempt_count=attempt_count)), failed(is_suspect=True))
    assert (decision.trigger is Trigger.FRESH_LINK_ASKED) is asks


def test_suspect_bytes_never_end_a_job() -> None:
    """Not even after every ask: only a dead link proves loss, so the longest delay is kept."""
    decision = after(archiving(make_output(0, attempt_count=98, ask_count=40)), failed(is_suspect=True))
    assert decision.due_at == NOW + 2 * HOUR
    assert decision.target is State.PROCESSING


def test_suspect_bytes_without_a_task_are_fetched_again() -> None:
    """Immediate kinds have nobody to ask."""
    decision = after(archiving(make_output(0, attempt_count=2), **NO_TASK), failed(is_suspect=True))
    assert moved(decision) == (Trigger.ARCHIVE_FAILED, State.ARCHIVING)


@pytest.mark.parametrize(("attempt_count", "wait"), [(0, 10 * SECOND), (1, 20 * SECOND), (5, 320 * SECOND), (99, HOUR)])
def test_what_could_not_be_fetched_backs_off(attempt_count: int, wait: timedelta) -> None:
    """Could not be fetched or stored: archiving again after the backoff."""
    decision = after(archiving(make_output(0), attempt_count=attempt_count), failed())
    assert decision.due_at == NOW + wait
    assert decision.patch["attempt_count"] == attempt_count + 1


def test_the_other_side_may_ask_for_a_longer_wait() -> None:
    """Retry-After is a lower bound; of several the longest counts."""
    job = archiving(make_output(0), make_output(1))
    decision = after(job, failed(0, retry_after=MINUTE), failed(1, retry_after=3 * MINUTE))
    assert decision.due_at == NOW + 3 * MINUTE


@pytest.mark.parametrize(
    ("expires_at", "wait"),
    [
        (None, HOUR),
        (NOW + 30 * timedelta(days=1), HOUR),
        (NOW + 20 * MINUTE, 10 * MINUTE),
        (NOW + 10 * SECOND, 5 * SECOND),
        (NOW + SECOND, SECOND),
        (NOW, HOUR),
        (NOW - HOUR, HOUR),
    ],
)
def test_the_wait_ends_before_the_link_does(expires_at: datetime | None, wait: timedelta) -> None:
    """Promise 7: min(backoff, time left), at least a second; a passed expiry only ordered, it proves no loss."""
    decision = after(archiving(make_output(0, source_expires_at=expires_at), attempt_count=99), failed())
    assert decision.due_at == NOW + wait


def test_a_link_past_its_time_does_not_hide_one_that_still_lives() -> None:
    """Promise 7 holds for each output by itself."""
    job = archiving(
        make_output(0, source_expires_at=NOW - HOUR),
        make_output(1, source_expires_at=NOW + 20 * MINUTE),
        attempt_count=99,
    )
    assert after(job, failed(0), failed(1)).due_at == NOW + 10 * MINUTE


def test_stored_text_needs_no_link() -> None:
    """Transcripts lie in the row; they wait for the store only."""
    text = make_output(0, Role.TRANSCRIPT, source_url=None, text=TEXT.text)
    assert moved(after(archiving(text, **NO_TASK), failed())) == (Trigger.ARCHIVE_FAILED, State.ARCHIVING)
