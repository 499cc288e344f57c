"""A job file becomes a batch once, whatever happens in between (H2, H20)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import BatchFileError, BudgetError
from orchestrator.domain.job import Batch, NewJob
from orchestrator.domain.kind import input_key
from orchestrator.services.intake import CheckOptions, check_file, take_file
from tests.fixtures.clock import START
from tests.services.intake.desk import KINDS, SANDBOX, Desk, data_uri, image, png, talk, video, wav
from tests.services.intake.fakes import FakeBatches, FakeStore, Killed


def test_a_good_file_becomes_queued_jobs_with_frozen_bodies(desk: Desk) -> None:
    """Bodies are kept as written, nulls dropped, files named by the SHA-256 under which the archive holds them."""
    sound = wav()
    desk.add("audio/talk.wav", sound)
    line = video("v", duration=None)
    checked = desk.check([line, image(tags={"campaign": "spring"}, priority=9), talk(file="audio/talk.wav")])
    assert checked.faults == ()
    intake = take_file(checked, desk.taker)

    jobs = sorted(desk.batches.jobs.values(), key=lambda job: job.line_number or 0)
    assert [(job.kind, job.model, job.line_number) for job in jobs] == [
        ("video", "cogvideox-3", 1),
        ("image", "glm-image", 2),
        ("transcription", "glm-asr-2512", 3),
    ]
    assert jobs[0].body == {"model": "cogvideox-3", "prompt": "a red kite"}
    assert jobs[0].input == {"prompt": "a red kite"}
    assert (jobs[1].tags, jobs[1].priority) == ({"campaign": "spring"}, 9)
    sha256 = hashlib.sha256(sound).hexdigest()
    assert jobs[2].body["file"] == {"$input": sha256, "bytes": len(sound), "type": "audio/wav", "name": "talk.wav"}
    assert jobs[2].input == {"file": "audio/talk.wav"}
    assert desk.inputs == {input_key(sha256): sound}
    assert intake.batch.is_intake_done
    assert (intake.new_count, intake.reused_count, intake.is_resumed) == (3, 0, False)
    assert intake.cost.micros == 200_000 + 15_000 + 1_200


def test_nothing_is_stored_for_a_bad_file(desk: Desk) -> None:
    """One bad line keeps the inputs of the good ones out of the archive too."""
    desk.add("talk.wav", wav())
    checked = desk.check([talk(), image("x", body={"model": "glm-image"})])
    with pytest.raises(BatchFileError) as caught:
        take_file(checked, desk.taker)
    assert caught.value.fault_count == 1
    assert (desk.store.objects, desk.batches.batches) == ({}, {})


def test_the_same_file_again_is_the_same_batch(desk: Desk) -> None:
    """H20: also under another name; nothing is added twice."""
    first = take_file(desk.check([image(), video()]), desk.taker)
    renamed = desk.write([image(), video()], name="other.jsonl")
    again = take_file(check_file(renamed, KINDS, options=SANDBOX), desk.taker)
    assert (again.batch.id, again.is_resumed, again.new_count) == (first.batch.id, True, 0)
    assert len(desk.batches.jobs) == 2


@pytest.mark.parametrize(
    "options", [CheckOptions("https://api.z.ai"), CheckOptions("sandbox", allow_unknown_model=True)]
)
def test_another_environment_or_option_is_another_batch(desk: Desk, options: CheckOptions) -> None:
    """H20: what changes a body or who is paid is part of the identity."""
    first = take_file(desk.check([image()]), desk.taker)
    second = take_file(desk.check([image()], options=options), desk.taker)
    assert first.batch.id != second.batch.id


def test_another_content_of_a_named_file_is_another_batch(desk: Desk) -> None:
    """H20: the job file is equal, the recording is not."""
    desk.add("talk.wav", wav(1))
    first = take_file(desk.check([talk()]), desk.taker)
    desk.add("talk.wav", wav(2))
    second = take_file(desk.check([talk()]), desk.taker)
    assert first.batch.id != second.batch.id
    assert (second.new_count, second.reused_count) == (1, 0)


def test_force_new_pays_again_and_a_plain_run_goes_on_with_the_newest(desk: Desk) -> None:
    """Surfaces section 1: generations."""
    checked = desk.check([image(), video()])
    first = take_file(checked, desk.taker)
    forced = take_file(checked, desk.taker, is_forced=True)
    plain = take_file(checked, desk.taker)
    assert forced.batch.id != first.batch.id
    assert (forced.batch.generation, forced.new_count, forced.reused_count) == (2, 2, 0)
    assert plain.batch.id == forced.batch.id
    assert len(desk.batches.jobs) == 4


@dataclass
class LateBatches(FakeBatches):
    """Another process takes the same file between our look and our creation."""

    other: Callable[[], object] | None = None

    def create(self, batch: Batch) -> None:
        first, self.other = self.other, None
        if first is not None:
            first()
        super().create(batch)


def test_two_processes_that_take_one_file_at_once_end_in_one_batch(desk: Desk) -> None:
    """H20: the one that comes second joins; every line is one job."""
    desk.batches = batches = LateBatches()
    checked = desk.check([image("a"), image("b")])
    batches.other = lambda: take_file(checked, desk.taker)
    intake = take_file(checked, desk.taker)
    assert (len(batches.batches), len(batches.jobs)) == (1, 2)
    assert (intake.is_resumed, intake.new_count) == (True, 0)


def test_lines_of_a_changed_file_reuse_equal_jobs(desk: Desk) -> None:
    """custom_id and body decide; tags do not; a changed body is a new job."""
    take_file(desk.check([image("a"), image("b"), video("c")]), desk.taker)
    changed = [image("a", tags={"x": "y"}), image("b", priority=1), video("c", duration=10), video("d")]
    intake = take_file(desk.check(changed), desk.taker)
    assert (intake.new_count, intake.reused_count) == (2, 2)
    assert intake.cost.micros == 400_000
    assert len(desk.batches.members[intake.batch.id]) == 4


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_kill_at_any_write_of_ingest_ends_in_the_right_jobs(desk: Desk, is_forced: bool) -> None:
    """H2: killed before every write in turn, then run again: every line once, the batch complete, nothing reused
    that was asked for anew.
    """
    desk.add("talk.wav", wav())
    lines = [*(image(f"i{n}") for n in range(501)), talk()]
    take_file(desk.check([image("i1"), image("i500")]), desk.taker)
    if is_forced:
        take_file(desk.check(lines), desk.taker)
    earlier = len(desk.batches.jobs)
    checked = desk.check(lines)
    kills = 0
    while True:
        trial = replace(desk, batches=copy.deepcopy(desk.batches), store=FakeStore())
        trial.batches.steps_left = kills
        try:
            take_file(checked, trial.taker, is_forced=is_forced)
            break
        except Killed:
            kills += 1
        trial.batches.steps_left = None
        begun = len(trial.batches.batches) > len(desk.batches.batches)
        intake = take_file(checked, trial.taker, is_forced=is_forced and not begun)
        assert sorted(trial.batches.members[intake.batch.id]) == list(range(1, 503))
        assert len(trial.batches.jobs) == earlier + (502 if is_forced else 500)
        assert trial.batches.batches[intake.batch.id].is_intake_done
    assert kills == 4


def test_an_input_that_changed_since_the_check_is_refused(desk: Desk) -> None:
    """What is stored must be what was measured: input_changed, and no batch."""
    desk.add("talk.wav", wav())
    checked = desk.check([talk()])
    desk.add("talk.wav", wav(value=5))
    with pytest.raises(BatchFileError) as caught:
        take_file(checked, desk.taker)
    assert [(fault.code, fault.line, fault.param) for fault in caught.value.faults] == [
        ("input_changed", 1, "body.file")
    ]
    assert (desk.store.objects, desk.batches.batches) == ({}, {})


@pytest.mark.parametrize("later", [[image("b")], [image("a"), image("b")], []])
def test_a_job_file_that_changed_since_the_check_is_refused(desk: Desk, later: list[object]) -> None:
    """A line replaced, added or gone: nothing unchecked is taken."""
    checked = desk.check([image("a")])
    desk.write([*later, "# moved"])
    with pytest.raises(BatchFileError) as caught:
        take_file(checked, desk.taker)
    assert caught.value.faults[0].code == "file_changed"


def test_an_input_that_the_archive_holds_is_not_copied_again(desk: Desk) -> None:
    """Two lines, one recording, one object; a second file naming it copies nothing."""
    desk.add("talk.wav", wav())
    desk.add("same.wav", wav())
    take_file(desk.check([talk("t1"), talk("t2", "same.wav")]), desk.taker)
    take_file(desk.check([talk("t3")]), desk.taker)
    assert list(desk.inputs) == [input_key(hashlib.sha256(wav()).hexdigest())]
    assert desk.store.put_count == 1 + 2  # and the two job files


def test_pictures_in_a_body_become_inputs_too(desk: Desk) -> None:
    """A data: URI is decoded, stored under its SHA-256 and shown shortened; links stay as they are."""
    link = "https://example.com/last.png"
    frames = [data_uri(png()), link]
    take_file(desk.check([video("v", image_url=frames)]), desk.taker)
    (job,) = desk.batches.jobs.values()
    sha256 = hashlib.sha256(png()).hexdigest()
    kept = {"$input": sha256, "bytes": len(png()), "type": "image/png", "name": "inline"}
    assert job.body["image_url"] == [kept, link]
    assert job.input["image_url"] == [f"(image/png, {len(png()):,} bytes inline)", link]
    assert desk.inputs == {input_key(sha256): png()}


def test_a_budget_is_held_before_anything_is_stored(desk: Desk) -> None:
    """--max-cost: to the micro-unit; reused lines cost nothing; what has no price is refused under a budget."""
    desk.add("talk.wav", wav())
    lines = [image("a"), video("v"), talk()]
    with pytest.raises(BudgetError, match=r"0\.2162; at most 0\.216199"):
        take_file(desk.check(lines), desk.taker, max_cost_micros=216_199)
    assert (desk.store.objects, desk.batches.batches) == ({}, {})
    assert take_file(desk.check(lines), desk.taker, max_cost_micros=216_200).new_count == 3
    assert take_file(desk.check([*lines, image("b")]), desk.taker, max_cost_micros=15_000).reused_count == 3
    unpriced = image("u", body={"model": "cogview-3", "prompt": "x"})
    with pytest.raises(BudgetError, match="no table price"):
        take_file(desk.check([unpriced]), desk.taker, max_cost_micros=10**9)


def test_a_budget_holds_for_what_a_batch_has_not_paid_yet(desk: Desk) -> None:
    """A batch taken without a limit is not run on under a smaller one."""
    take_file(desk.check([video("v")]), desk.taker)
    with pytest.raises(BudgetError):
        take_file(desk.check([video("v")]), desk.taker, max_cost_micros=199_999)


def test_a_budget_stays_with_the_batch_until_another_is_given(desk: Desk) -> None:
    """A20: stored on the batch; the same file again keeps it, changes it, and says what it was."""
    checked = desk.check([video("v")])
    first = take_file(checked, desk.taker, max_cost_micros=200_000)
    assert (first.batch.max_cost_micros, first.former_budget) == (200_000, None)
    kept = take_file(checked, desk.taker)
    assert (kept.batch.max_cost_micros, kept.former_budget) == (200_000, 200_000)
    raised = take_file(checked, desk.taker, max_cost_micros=300_000)
    assert (raised.batch.max_cost_micros, raised.former_budget) == (300_000, 200_000)
    assert desk.batches.get(first.batch.id).max_cost_micros == 300_000
    with pytest.raises(BudgetError):
        take_file(checked, desk.taker, max_cost_micros=199_999)
    assert desk.batches.get(first.batch.id).max_cost_micros == 300_000


def test_a_budget_named_when_a_killed_intake_goes_on_counts_each_line_once(desk: Desk) -> None:
    """What is in counts as it stands in the batch, with its retries; only lines to come are priced from the file."""
    checked = desk.check([video(f"v{n}") for n in range(501)])
    desk.batches.steps_left = 2
    with pytest.raises(Killed):
        take_file(checked, desk.taker)
    desk.batches.steps_left = None
    assert len(desk.batches.jobs) == 500
    with pytest.raises(BudgetError, match=r"would cost 100\.20; at most 100\.199999"):
        take_file(checked, desk.taker, max_cost_micros=501 * 200_000 - 1)
    intake = take_file(checked, desk.taker, max_cost_micros=501 * 200_000)
    assert (intake.new_count, intake.batch.max_cost_micros) == (1, 501 * 200_000)


def test_a_budget_given_to_the_second_of_two_processes_holds(desk: Desk) -> None:
    """Whoever joins a batch that another process has just made sets its budget all the same."""
    desk.batches = batches = LateBatches()
    checked = desk.check([video("v")])
    batches.other = lambda: take_file(checked, desk.taker)
    intake = take_file(checked, desk.taker, max_cost_micros=200_000)
    assert batches.get(intake.batch.id).max_cost_micros == 200_000


def test_a_file_that_changes_while_it_is_taken_ends_the_intake_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are read ahead in a thread: what it finds comes out here, after the chunks before it, which stay.

    The file is changed once its copy is in the archive: what is changed sooner is refused before anything is taken.
    """
    lines: list[object] = [image(f"i{n}") for n in range(1203)]
    checked = desk.check(lines)
    store = desk.taker.store
    real = store.put_file

    def put_file(key: str, path: Path, **options: object) -> None:
        real(key, path, **options)  # type: ignore[arg-type]  # as they came
        desk.write([*lines[:1100], image("other"), *lines[1101:]])

    with monkeypatch.context() as changing:
        changing.setattr(store, "put_file", put_file)
        with pytest.raises(BatchFileError) as caught:
            take_file(checked, desk.taker)
    assert [(fault.code, fault.line) for fault in caught.value.faults] == [("file_changed", 1101)]
    (members,) = desk.batches.members.values()
    assert sorted(members) == list(range(1, 1001))
    desk.write(lines)
    assert take_file(checked, desk.taker).new_count == 203


@dataclass
class CancelledBatches(FakeBatches):
    """Somebody asks for the cancellation of a batch after some of its chunks."""

    chunks_before: int = 1

    def add_jobs(
        self, batch_id: str, jobs: Sequence[NewJob], *, actor: str, links: Sequence[tuple[int, str, str]] = ()
    ) -> int:
        added = super().add_jobs(batch_id, jobs, actor=actor, links=links)
        self.chunks_before -= 1
        if self.chunks_before == 0:
            self.batches[batch_id] = replace(self.batches[batch_id], cancel_requested_at=START)
        return added


def test_an_intake_ends_when_its_batch_is_cancelled(desk: Desk) -> None:
    """What is in stays, no line more comes in, the intake is closed, and the result says so."""
    desk.batches = CancelledBatches()
    intake = take_file(desk.check([image(f"i{n}") for n in range(1203)]), desk.taker)
    assert (intake.new_count, intake.batch.is_intake_done) == (500, True)
    assert intake.batch.cancel_requested_at == START
    assert sorted(desk.batches.members[intake.batch.id]) == list(range(1, 501))


def test_what_is_in_is_not_looked_up_again(desk: Desk) -> None:
    """The last line that is in is the checkpoint: a resumed intake asks nothing about the lines before it."""
    checked = desk.check([image(f"i{n}") for n in range(1203)])
    desk.batches.steps_left = 3
    with pytest.raises(Killed):
        take_file(checked, desk.taker)
    desk.batches.steps_left = None
    desk.batches.asked_counts.clear()
    assert take_file(checked, desk.taker).new_count == 203
    assert desk.batches.asked_counts == [203]
