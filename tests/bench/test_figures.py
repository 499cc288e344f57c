"""What the benchmarks compute is right, and what it says of the default schedules stays true."""

from __future__ import annotations

from random import Random

import pytest

from bench.__main__ import COLUMNS, make_row
from bench.provider import TaskTimes
from bench.results import percentile
from bench.schedules import ask, cost_of
from bench.slots import find_refills, ideal_makespan
from orchestrator.wiring import kinds_by_name


@pytest.mark.parametrize(
    ("durations", "slots", "makespan"),
    [([2.0, 2.0, 2.0], 3, 2.0), ([2.0, 2.0, 2.0, 1.0], 3, 3.0), ([3.0, 1.0, 1.0, 1.0], 2, 3.0), ([1.0, 2.0], 1, 3.0)],
)
def test_the_ideal_hands_each_job_to_the_first_free_slot(durations: list[float], slots: int, makespan: float) -> None:
    """In the order given, without a pause between."""
    assert ideal_makespan(durations, slots) == makespan


def test_a_notice_makes_room_for_the_next_task() -> None:
    """With two slots the third task fills the one that was first seen to be free."""
    tasks = [TaskTimes(0.0, 2.0, 2.5), TaskTimes(0.0, 1.0, 1.25), TaskTimes(1.5, 3.0, 3.0), TaskTimes(2.75, 4.0, 4.0)]
    assert find_refills(tasks, 2) == [0.25, 0.25]


def test_a_question_comes_late_by_what_is_left_of_its_interval() -> None:
    """Asked at 5, 10 and 15 s, a task of 12 s gets three questions and is seen 3 s late."""
    assert ask(12.0, 5.0, lambda age: 5.0) == (3, 3.0)


@pytest.mark.parametrize(("kind", "seconds"), [("image", 20.0), ("video", 120.0), ("video", 600.0)])
def test_no_default_schedule_leaves_a_slot_empty_for_long(kind: str, seconds: float) -> None:
    """A slot is what users wait for: asking late costs under 3% of a usual task's time, at no more than 1 question/s."""
    count, lost = cost_of(kinds_by_name()[kind].schedule, seconds, Random(1))
    assert lost < 0.03
    assert count < seconds


def test_a_percentile_is_a_measured_value() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 3.0
    assert percentile([1.0], 0.99) == 1.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_a_figure_fills_the_columns_of_the_table() -> None:
    """Units stand with their figures; what is missing stays empty."""
    row = make_row({"figure": "x", "unit": "s", "ours": 1.5, "beside": 3.0, "beside_what": "recipe", "ratio": 0.5}, "m")
    assert row == ("x", "1.5 s", "3.0 s recipe", "0.5", "", "m")
    assert len(row) == len(COLUMNS)
