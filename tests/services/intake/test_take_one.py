"""A single request passes the same checks as a line, and its idempotency key makes it one job."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.errors import BudgetError, InvalidParams, UnknownKind
from orchestrator.domain.kind import input_key
from orchestrator.services.intake import CheckedRequest, SingleRequest, check_one, take_one
from tests.services.intake.desk import KINDS, SANDBOX, Desk, png, wav

KITE = SingleRequest("image", {"prompt": "a red kite"})


def check(single: SingleRequest, folder: Path | None = None) -> CheckedRequest:
    return check_one(single, KINDS, options=SANDBOX, folder=folder)


def test_a_request_becomes_a_batch_of_one_line_named_after_its_kind(desk: Desk) -> None:
    """Without a model it gets the kind's default; our own fields are kept."""
    single = SingleRequest(
        "image",
        {"prompt": "a red kite", "size": None},
        custom_id="cover",
        tags={"campaign": "spring"},
        priority=9,
        not_before=datetime(2026, 11, 30, tzinfo=UTC),
    )
    intake = take_one(check(single), desk.taker)
    job = desk.batches.jobs[intake.job_id or ""]
    assert job.body == {"prompt": "a red kite", "model": "glm-image"}
    assert (job.custom_id, job.tags, job.priority, job.line_number) == ("cover", {"campaign": "spring"}, 9, 1)
    assert job.not_before == datetime(2026, 11, 30, tzinfo=UTC)
    assert (intake.batch.name, intake.batch.line_count, intake.batch.is_intake_done) == ("image", 1, True)
    assert (intake.new_count, intake.cost.micros) == (1, 15_000)


def test_without_a_key_the_same_request_is_another_job(desk: Desk) -> None:
    """Equal bodies are not reused either: a person who submits twice wants two."""
    checked = check(SingleRequest("image", {"prompt": "x"}, custom_id="same"))
    first, second = take_one(checked, desk.taker), take_one(checked, desk.taker)
    assert first.job_id != second.job_id
    assert len(desk.batches.jobs) == 2


def test_the_same_key_gives_the_same_job(desk: Desk) -> None:
    """A19, surfaces section 2: with the same body the job that is there; with another one an error."""
    first = take_one(check(KITE), desk.taker, idempotency_key="k")
    again = take_one(check(KITE), desk.taker, idempotency_key="k")
    assert (again.job_id, again.is_resumed, again.new_count) == (first.job_id, True, 0)
    for other in (
        SingleRequest("image", {"prompt": "a blue kite"}),
        SingleRequest("image", {"prompt": "a red kite"}, custom_id="x"),
    ):
        with pytest.raises(InvalidParams) as caught:
            take_one(check(other), desk.taker, idempotency_key="k")
        assert caught.value.faults[0].code == "idempotency_key_reused"
    assert len(desk.batches.jobs) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_cannot_be_kept_is_refused(desk: Desk, key: str) -> None:
    """1-255 characters."""
    with pytest.raises(InvalidParams):
        take_one(check(KITE), desk.taker, idempotency_key=key)


@pytest.mark.parametrize(
    ("single", "codes"),
    [
        (SingleRequest("image", {"prompt": "x", "size": "5x5"}, priority=11), {"invalid_size", "invalid_priority"}),
        (SingleRequest("image", {"prompt": "half \ud800 pair"}), {"invalid_text"}),
        (SingleRequest("image", {"prompt": float("nan")}), {"invalid_number"}),
        (SingleRequest("image", {"prompt": object()}), {"invalid_json"}),
        (SingleRequest("image", {"prompt": "x"}, tags={"a": 1}), {"invalid_tags"}),
        (SingleRequest("image", {"prompt": "x"}, custom_id=""), {"invalid_custom_id"}),
        (SingleRequest("transcription", {"file": "talk.wav"}), {"path_outside"}),
    ],
)
def test_every_fault_is_told(single: SingleRequest, codes: set[str]) -> None:
    """As for lines, without line and column."""
    with pytest.raises(InvalidParams) as caught:
        check(single)
    assert {fault.code for fault in caught.value.faults} == codes
    assert all(fault.line is None and fault.column is None for fault in caught.value.faults)


def test_an_unknown_kind_names_those_there_are() -> None:
    """With the nearest as a hint."""
    with pytest.raises(UnknownKind) as caught:
        check(SingleRequest("vidoe", {}))
    assert caught.value.hint == "did you mean video?"


def test_files_named_on_the_command_line_are_read_wherever_they_are(desk: Desk, tmp_path: Path) -> None:
    """H14: the path itself was typed by a person; others stay out."""
    elsewhere = tmp_path / "elsewhere.wav"
    elsewhere.write_bytes(wav())
    body = {"file": str(elsewhere)}
    intake = take_one(
        check(SingleRequest("transcription", body, typed_paths=(str(elsewhere),)), desk.folder), desk.taker
    )
    assert intake.new_count == 1
    assert list(desk.store.objects.values()) == [wav()]
    with pytest.raises(InvalidParams):
        check(SingleRequest("transcription", body), desk.folder)


def test_a_picture_beside_the_working_folder_is_copied(desk: Desk) -> None:
    """Relative paths start at the folder that was given."""
    desk.add("kite.png", png())
    body = {"model": "viduq1-image", "prompt": "it climbs", "image_url": "kite.png"}
    intake = take_one(check(SingleRequest("video", body), desk.folder), desk.taker)
    frozen = desk.batches.jobs[intake.job_id or ""].body["image_url"]
    assert isinstance(frozen, dict)
    assert set(desk.store.objects) == {input_key(str(frozen["$input"]))}


def test_an_input_that_changed_is_refused(desk: Desk) -> None:
    """Between the check and the copy."""
    desk.add("talk.wav", wav())
    checked = check(SingleRequest("transcription", {"file": "talk.wav"}), desk.folder)
    desk.add("talk.wav", wav(value=3))
    with pytest.raises(InvalidParams) as caught:
        take_one(checked, desk.taker)
    assert caught.value.faults[0].code == "input_changed"
    assert desk.batches.batches == {}


def test_warnings_come_along_and_a_budget_is_held(desk: Desk) -> None:
    """Nothing is stored over budget."""
    checked = check(SingleRequest("image", {"prompt": "x", "mood": "calm"}))
    assert [fault.param for fault in checked.warnings] == ["body.mood"]
    with pytest.raises(BudgetError):
        take_one(checked, desk.taker, max_cost_micros=14_999)
    assert desk.batches.batches == {}
    assert take_one(checked, desk.taker, max_cost_micros=15_000).warnings == checked.warnings
