"""37 faults among 10,000 lines are those 37, each at its place; and what a file is told before it is paid."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random

from bench.check import PLANTS, plant
from orchestrator.services.forecast import find_known, foresee
from orchestrator.services.intake import CheckedFile, take_file
from tests.services.intake.desk import KINDS, Desk, image, talk, video, wav


def test_planted_faults_are_found_and_nothing_else(desk: Desk) -> None:
    """10,000 lines with 37 planted faults give exactly those 37."""
    data, expected = plant(10_000, rng=Random(5))
    checked = desk.check(data)
    assert [(fault.line, fault.code, fault.param) for fault in checked.faults] == expected
    assert len(expected) == 37
    assert (checked.line_count, checked.good_count) == (10_000, 10_000 - 37)
    assert {code for _, code, _ in expected} == {code for _, code, _ in PLANTS}


def test_lines_that_an_earlier_job_made_are_known(desk: Desk) -> None:
    """Only what has the same custom_id and body; bad lines are no hindrance."""
    taken = take_file(desk.check([image("a"), image("b")]), desk.taker)
    checked = desk.check(
        [image("b"), image("c"), video("x", duration=7), image("a", body={"model": "glm-image", "prompt": "y"})]
    )
    known = find_known(checked, desk.batches)
    assert known.count == 1
    assert [line for line, _ in known.lines] == [1]
    assert taken.batch.line_count == 2


def foresee_file(checked: CheckedFile, slots: dict[str, int]) -> timedelta:
    return foresee(checked.estimate, KINDS, slots, longest_chain=checked.longest_chain)


def test_the_slowest_model_decides_when_a_file_is_done(desk: Desk) -> None:
    """Models run side by side, each in rounds of its slots; `*` speaks for models that no limit names."""
    desk.add("talk.wav", wav())
    lines = [*(image(f"i{n}") for n in range(7)), video("v"), talk()]
    assert foresee_file(desk.check(lines), {"glm-image": 3, "*": 1}) == timedelta(minutes=8)
    assert foresee_file(desk.check(lines), {"glm-image": 3, "cogvideox-3": 1, "*": 1}) >= timedelta(minutes=8)
    assert foresee_file(desk.check(lines[:7]), {"glm-image": 3}) == timedelta(minutes=1)
    assert foresee_file(desk.check(json.dumps({}).encode()), {}) == timedelta(0)


def test_no_number_of_slots_makes_a_chain_shorter(desk: Desk) -> None:
    """Lines that wait for each other take their times one after the other; those behind a refused line take none."""
    chain = [
        image("p"),
        {**video("v1"), "depends_on": ["p"]},
        {**video("v2"), "depends_on": ["v1", "p"]},
        {**image("other"), "depends_on": "p"},
    ]
    plenty = {"*": 100}
    assert foresee_file(desk.check(chain[::-1]), plenty) == timedelta(minutes=16, seconds=20)
    broken = [*chain[:2], {**video("v2", duration=7), "depends_on": "v1"}, {**video("v3"), "depends_on": "v2"}]
    assert foresee_file(desk.check(broken), plenty) == timedelta(minutes=8, seconds=20)
    assert desk.check(chain[:1]).longest_chain == timedelta(0)
