"""Outputs: upserted by index, archived ones untouched, and the job knows which dies first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.db.outputs import mark_lost, write_results
from orchestrator.db.rows import JOBS, OUTPUTS
from orchestrator.domain.decide import Decision, JobPatch
from orchestrator.domain.job import Job, OutputDraft, Role
from orchestrator.domain.outcomes import ArchiveStep, OutputFailed, OutputLinkDead, OutputsReady, OutputStored
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State, Trigger
from tests.db.driver import Driver
from tests.factories import HOUR, make_draft, make_file
from tests.fixtures.clock import START

FILE = make_file(width=1920, height=1080, duration_seconds=5.0, codec="h264", notes=("sniffed mp4",))


def two_outputs(driver: Driver) -> Job:
    """Lead a job with a video and a cover to `archiving`."""
    return driver.add_archiving(
        make_draft(0, expires_at=START + 2 * HOUR), make_draft(1, role=Role.COVER, expires_at=START + HOUR)
    )


def ask_again(driver: Driver, job_id: str) -> None:
    """Send an archiving job back to ask for fresh links."""
    held = driver.hold(LaneName.ARCHIVE, job_id)
    decision = Decision(
        State.ARCHIVING,
        Trigger.FRESH_LINK_ASKED,
        State.PROCESSING,
        driver.clock.now(),
        "",
        asked_output_ids=tuple(o.id for o in held.outputs if not o.is_settled),
    )
    driver.jobs.apply([(held, decision)])


def expiry(driver: Driver, job_id: str) -> object:
    """Return what the archive lane orders the job by."""
    return driver.row(JOBS, job_id)["source_expires_at"]


def test_an_archived_output_has_its_facts_and_no_link(driver: Driver) -> None:
    """Promise 6 and design section 8: rows keep keys; source links are cleared once archived."""
    job = driver.add_archiving()
    held = driver.hold(LaneName.ARCHIVE, job.id)
    driver.jobs.remember_upload(held.outputs[0].id, "upload-1")
    driver.apply(held, ArchiveStep((OutputStored(held.outputs[0].id, FILE),)))
    (output,) = driver.get(job.id).outputs
    assert (output.stored, output.source_url, output.archived_at) == (FILE, None, driver.clock.now())
    assert driver.row(OUTPUTS, output.id)["upload_id"] is None


def test_the_job_is_ordered_by_what_is_still_to_be_fetched(driver: Driver) -> None:
    """The earliest end of its unarchived outputs' links; archived and lost ones no longer count."""
    job = two_outputs(driver)
    assert expiry(driver, job.id) == START + HOUR
    held = driver.hold(LaneName.ARCHIVE, job.id)
    cover = next(o for o in held.outputs if o.role is Role.COVER)
    driver.apply(held, ArchiveStep((OutputStored(cover.id, FILE),)))
    assert expiry(driver, job.id) == START + 2 * HOUR


def test_a_fresh_answer_replaces_links_but_not_archived_files(driver: Driver) -> None:
    """Asked again, the provider names all outputs; what is safe stays as it is."""
    job = two_outputs(driver)
    held = driver.hold(LaneName.ARCHIVE, job.id)
    cover = next(o for o in held.outputs if o.role is Role.COVER)
    driver.apply(held, ArchiveStep((OutputStored(cover.id, FILE),)))
    ask_again(driver, job.id)
    fresh = tuple(make_draft(i, url=f"https://cdn.example/fresh-{i}", expires_at=START + 9 * HOUR) for i in (0, 1))
    driver.finish_poll(job.id, OutputsReady(fresh))
    video, kept = driver.get(job.id).outputs
    assert (video.source_url, video.source_expires_at) == ("https://cdn.example/fresh-0", START + 9 * HOUR)
    assert (video.ask_count, kept.stored, kept.source_url) == (1, FILE, None)
    assert {video.id, kept.id} == {o.id for o in job.outputs}


def test_a_failed_try_is_counted_and_told(driver: Driver) -> None:
    """The next pass knows how often this one failed."""
    job = driver.add_archiving()
    held = driver.hold(LaneName.ARCHIVE, job.id)
    driver.apply(held, ArchiveStep((OutputFailed(held.outputs[0].id, "http_502", "bad gateway"),)))
    (output,) = driver.get(job.id).outputs
    assert output.attempt_count == 1
    assert driver.row(OUTPUTS, output.id)["last_error"] == "http_502: bad gateway"
    assert driver.state(job.id) is State.ARCHIVING


def test_a_dead_link_is_remembered_and_the_provider_asked(driver: Driver) -> None:
    """E7: the same dead link twice ends the job; so the first has to be known."""
    job = driver.add_archiving()
    held = driver.hold(LaneName.ARCHIVE, job.id)
    driver.apply(held, ArchiveStep((OutputLinkDead(held.outputs[0].id, "a" * 64, "403"),)))
    found = driver.get(job.id)
    assert (found.state, found.outputs[0].dead_links, found.outputs[0].ask_count) == (State.PROCESSING, ("a" * 64,), 1)
    driver.finish_poll(job.id, OutputsReady((make_draft(),)))
    held = driver.hold(LaneName.ARCHIVE, job.id)
    driver.apply(held, ArchiveStep((OutputLinkDead(held.outputs[0].id, "a" * 64, "403"),)))
    found = driver.get(job.id)
    assert (found.state, found.failure_code) == (State.FAILED, "output_expired")
    assert found.outputs[0].is_lost


def test_the_loss_of_a_cover_is_an_event_and_the_job_succeeds(driver: Driver) -> None:
    """Cover outputs are optional (design section 6)."""
    job = two_outputs(driver)
    held = driver.hold(LaneName.ARCHIVE, job.id)
    cover, video = held.outputs
    driver.apply(held, ArchiveStep((OutputStored(video.id, FILE), OutputLinkDead(cover.id, "b" * 64, "404"))))
    assert driver.state(job.id) is State.SUCCEEDED
    assert driver.events(job.id)[-2:] == ["output_lost", "archived"]
    assert driver.history.list_events(job.id)[-2].data == {"output_id": cover.id}
    assert expiry(driver, job.id) is None


def test_text_outputs_need_no_link(driver: Driver) -> None:
    """Transcripts come inside the answer."""
    text = OutputDraft(index=0, role=Role.TRANSCRIPT, text="a red\0 kite")
    job = driver.add_archiving(text)
    (output,) = job.outputs
    assert (output.text, output.source_url) == ("a red\ufffd kite", None)


def test_links_end_in_utc(driver: Driver) -> None:
    """Whatever zone a link names its end in, the same moment comes back in UTC."""
    from datetime import timezone

    local = (START + HOUR).astimezone(timezone(timedelta(hours=5, minutes=45)))
    job = driver.add_archiving(replace(make_draft(), expires_at=local))
    end = job.outputs[0].source_expires_at
    assert end == local
    assert end is not None
    assert end.utcoffset() == timedelta(0)


def test_a_retry_finds_the_outputs_of_a_failed_job(driver: Driver) -> None:
    """What was announced stays with the job whatever its state."""
    job = driver.add_archiving()
    held = driver.hold(LaneName.ARCHIVE, job.id)
    patch = JobPatch(finished_at=driver.clock.now(), failure_code="output_expired")
    gone = Decision(State.ARCHIVING, Trigger.OUTPUT_EXPIRED, State.FAILED, None, "", patch)
    driver.jobs.apply([(held, gone)])
    assert len(driver.get(job.id).outputs) == 1


def test_every_fact_of_a_stored_file_comes_back(driver: Driver) -> None:
    """Files of one pass are written together; numbers, fractions and notes are as they were found."""
    job = driver.add_archiving(make_draft(0), make_draft(1, role=Role.COVER))
    held = driver.hold(LaneName.ARCHIVE, job.id)
    facts = {"width": 640, "height": 480, "duration_seconds": 4.25, "codec": "h264", "notes": ("odd", 'a "b" \u00e9')}
    files = {
        held.outputs[0].id: make_file(key="a", byte_count=2**40, **facts),
        held.outputs[1].id: make_file(key="b", content_type="image/jpeg"),
    }
    driver.apply(held, ArchiveStep(tuple(OutputStored(key, file) for key, file in files.items())))
    found = driver.get(job.id)
    assert found.state is State.SUCCEEDED
    assert {output.id: output.stored for output in found.outputs} == files
    assert {output.source_url for output in found.outputs} == {None}


def test_what_is_archived_is_not_stored_again(driver: Driver) -> None:
    """The row that was read back stands: a second word about it changes nothing."""
    before = driver.add_succeeded()
    again = OutputStored(before.outputs[0].id, make_file(key="other"))
    with driver.database.begin_write() as connection:
        write_results(connection, [again], now=driver.clock.now())
    assert driver.get(before.id) == before


def test_what_is_archived_is_not_lost(driver: Driver) -> None:
    """A loss that was proven of a link says nothing of the file that came in time."""
    before = driver.add_succeeded()
    with driver.database.begin_write() as connection:
        mark_lost(connection, [before.outputs[0].id], now=driver.clock.now())
    assert driver.get(before.id) == before


def test_an_output_that_is_announced_twice_in_one_answer_is_one(driver: Driver) -> None:
    """The last word stands, on both databases; one statement may not touch a row twice."""
    job = driver.add_archiving(make_draft(0, url="https://cdn.example/a"), make_draft(0, url="https://cdn.example/b"))
    assert [output.source_url for output in job.outputs] == ["https://cdn.example/b"]
