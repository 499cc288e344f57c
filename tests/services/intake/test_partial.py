"""A file that is good but for some lines can be taken without them; all or nothing is the default (promise 9)."""

from __future__ import annotations

import contextlib
import json

import pytest

from orchestrator.domain.errors import BatchFileError, BudgetError
from orchestrator.services.intake import check_file, take_file
from orchestrator.services.jobfile.tally import MAX_FAULTS
from tests.services.intake.desk import KINDS, SANDBOX, Desk, image, video
from tests.services.intake.fakes import Killed

BAD = video("bad", duration=7)


def test_good_lines_become_jobs_and_bad_ones_are_counted(desk: Desk) -> None:
    """The batch says how many were left out; the archive holds the file as it was given, and their faults."""
    path = desk.write([image("a"), BAD, "not json", "# note", image("b")])
    checked = check_file(path, KINDS, options=SANDBOX)
    intake = take_file(checked, desk.taker, is_partial=True)
    assert sorted(job.line_number or 0 for job in desk.batches.jobs.values()) == [1, 5]
    assert (intake.batch.line_count, intake.batch.refused_count) == (2, 2)
    folder = f"batches/{intake.batch.id}"
    assert desk.store.objects[f"{folder}/input.jsonl"] == path.read_bytes()
    refused = [json.loads(line) for line in desk.store.objects[f"{folder}/refused.jsonl"].splitlines()]
    assert [(row["line"], row["custom_id"], row["code"], row["param"]) for row in refused] == [
        (2, "bad", "invalid_duration", "body.duration"),
        (3, None, "invalid_json", None),
    ]


def test_a_line_left_out_for_what_it_depends_on_is_kept_too(desk: Desk) -> None:
    """Every line that was left out is in the archive under its name: also one that is good, and waits for a bad one."""
    lines = [
        video("good"),
        {**video("child"), "depends_on": ["good", "bad"]},
        BAD,
        {**video("lost"), "depends_on": "nobody"},
    ]
    intake = take_file(desk.check(lines), desk.taker, is_partial=True)
    assert (intake.batch.line_count, intake.batch.refused_count) == (1, 3)
    kept = desk.store.objects[f"batches/{intake.batch.id}/refused.jsonl"]
    rows = [json.loads(line) for line in kept.splitlines()]
    assert [(row["line"], row["custom_id"], row["code"], row["param"]) for row in rows] == [
        (2, "child", "dependency_refused", "depends_on.1"),
        (3, "bad", "invalid_duration", "body.duration"),
        (4, "lost", "unknown_dependency", "depends_on"),
    ]


def test_lines_left_out_are_counted_where_warnings_are_not_kept(desk: Desk) -> None:
    """H11: more warnings than are kept hide none of the lines left out: the last row counts them."""
    odd = {"model": "glm-image", "prompt": "x", "size": "1280x1280", "odd": 1}
    lines: list[object] = [BAD, *(image(f"a{number}", body=odd) for number in range(MAX_FAULTS))]
    lines += [{**image("child"), "depends_on": "bad"}]
    intake = take_file(desk.check(lines), desk.taker, is_partial=True)
    kept = desk.store.objects[f"batches/{intake.batch.id}/refused.jsonl"]
    rows = [json.loads(line) for line in kept.splitlines()]
    assert [row["code"] for row in rows] == ["invalid_duration", "faults_not_listed"]
    assert rows[-1]["message"].startswith("1 more faults are not listed; 2 lines are left out")


def test_nothing_is_taken_in_part_unless_asked(desk: Desk) -> None:
    """The default is all or nothing."""
    with pytest.raises(BatchFileError):
        take_file(desk.check([image("a"), BAD]), desk.taker)
    assert (desk.batches.batches, desk.store.objects) == ({}, {})


@pytest.mark.parametrize("lines", [[BAD], [], b"\x1f\x8b" + b"x" * 80])
def test_a_file_without_a_good_line_or_shape_is_refused_in_part_too(desk: Desk, lines: list[object] | bytes) -> None:
    """Nothing to take, or nothing that can be understood."""
    with pytest.raises(BatchFileError):
        take_file(desk.check(lines), desk.taker, is_partial=True)
    assert desk.batches.batches == {}


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("custom_id,kind,model,prompt,huh\na,image,glm-image,x,y\n", "unknown_column"),
        ('custom_id,kind,model,prompt\na,image,glm-image,x\nb,image,glm-image,"x\n', "unclosed_quote"),
    ],
)
def test_a_table_whose_columns_are_in_doubt_is_refused_in_part_too(desk: Desk, table: str, code: str) -> None:
    """An unknown column or a cell without an end is of the whole file: what it would have changed nobody knows."""
    checked = check_file(desk.write(table.encode(), "jobs.csv"), KINDS, options=SANDBOX)
    with pytest.raises(BatchFileError) as caught:
        take_file(checked, desk.taker, is_partial=True)
    assert [fault.code for fault in caught.value.faults] == [code]
    assert desk.batches.batches == {}


def test_kept_faults_are_capped_and_counted_exactly(desk: Desk) -> None:
    """H11: the file says how many are not in it."""
    lines: list[object] = [image("a"), *(video(f"v{number}", duration=7) for number in range(MAX_FAULTS + 5))]
    intake = take_file(desk.check(lines), desk.taker, is_partial=True)
    assert intake.batch.refused_count == MAX_FAULTS + 5
    kept = desk.store.objects[f"batches/{intake.batch.id}/refused.jsonl"]
    rows = [json.loads(row) for row in kept.splitlines()]
    assert len(rows) == MAX_FAULTS + 1
    assert (rows[-1]["code"], rows[-1]["message"].split()[0]) == ("faults_not_listed", "5")
    assert {row["code"] for row in rows[:-1]} == {"invalid_duration"}


def test_a_bad_line_mended_since_the_check_is_another_file(desk: Desk) -> None:
    """What was checked is what is taken, bad lines included."""
    checked = desk.check([image("a"), BAD])
    desk.write([image("a"), video("bad")])
    with pytest.raises(BatchFileError) as caught:
        take_file(checked, desk.taker, is_partial=True)
    assert caught.value.faults[0].code == "file_changed"
    assert desk.batches.jobs == {}


@pytest.mark.parametrize("steps", range(4))
def test_a_kill_in_a_partial_intake_ends_in_the_right_jobs(desk: Desk, steps: int) -> None:
    """H2: repeated after a kill at any write."""
    checked = desk.check([image("a"), BAD, image("b")])
    desk.batches.steps_left = steps
    with contextlib.suppress(Killed):
        take_file(checked, desk.taker, is_partial=True)
    desk.batches.steps_left = None
    intake = take_file(checked, desk.taker, is_partial=True)
    assert sorted(job.custom_id or "" for job in desk.batches.jobs.values()) == ["a", "b"]
    assert f"batches/{intake.batch.id}/input.jsonl" in desk.store.objects


def test_a_budget_covers_the_lines_that_are_taken_and_stays_with_the_batch(desk: Desk) -> None:
    """A20's first half: refused before the first cent; what is allowed is kept for the run."""
    checked = desk.check([image("a"), BAD, image("b")])
    with pytest.raises(BudgetError):
        take_file(checked, desk.taker, is_partial=True, max_cost_micros=29_999)
    assert desk.batches.batches == {}
    intake = take_file(checked, desk.taker, is_partial=True, max_cost_micros=30_000)
    assert intake.batch.max_cost_micros == 30_000
