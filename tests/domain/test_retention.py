"""Which rule holds for a job, and when its time is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.errors import InvalidParams
from orchestrator.domain.retention import Kept, Rule, Selector, choose_rule, is_due

NOW = datetime(2026, 11, 1, tzinfo=UTC)
JOB = Kept(
    id="job_1",
    kind="video",
    tags={"campaign": "spring", "client": "a=b"},
    batch_ids=frozenset({"batch_1"}),
    archive_url="file:///archive",
    created_at=NOW,
    finished_at=NOW,
)


def rule(selector: str, days: float | None) -> Rule:
    keep = timedelta(days=days) if days is not None else None
    return Rule(Selector.parse(selector), keep, NOW, "alex")


@pytest.mark.parametrize(
    ("selector", "is_covered"),
    [
        ("*", True),
        ("kind:video", True),
        ("kind:image", False),
        ("tag:campaign=spring", True),
        ("tag:campaign=autumn", False),
        ("tag:client=a=b", True),
        ("batch:batch_1", True),
        ("batch:batch_2", False),
        ("job:job_1", True),
        ("job:job_2", False),
    ],
)
def test_a_selector_covers_what_it_names(selector: str, is_covered: bool) -> None:
    """And is spelled as it was written."""
    parsed = Selector.parse(selector)
    assert (parsed.covers(JOB), str(parsed)) == (is_covered, selector)


@pytest.mark.parametrize("text", ["", "video", "kind:", "kind", "tag:campaign", "tag:=x", "all:x", "colour:red"])
def test_what_is_no_selector(text: str) -> None:
    """The fault names the field and shows how one is written."""
    with pytest.raises(InvalidParams) as refused:
        Selector.parse(text)
    (fault,) = refused.value.faults
    assert (fault.param, bool(fault.hint)) == ("selector", True)


@pytest.mark.parametrize(
    ("rules", "chosen"),
    [
        ([], None),
        ([("kind:image", 1)], None),
        ([("*", 1), ("kind:video", 9)], "kind:video"),
        ([("*", 9), ("kind:video", 1)], "kind:video"),
        ([("kind:video", 9), ("tag:campaign=spring", 1)], "tag:campaign=spring"),
        ([("tag:campaign=spring", 1), ("tag:client=a=b", 2)], "tag:client=a=b"),
        ([("tag:campaign=spring", 9), ("batch:batch_1", 1)], "batch:batch_1"),
        ([("batch:batch_1", 9), ("job:job_1", 1)], "job:job_1"),
        ([("kind:video", None), ("job:job_1", 1)], "kind:video"),
        ([("*", None), ("job:job_1", 1)], "*"),
    ],
)
def test_which_rule_holds(rules: list[tuple[str, float | None]], chosen: str | None) -> None:
    """A hold before all else, then the closest, then the longest; whatever order they stand in."""
    made = [rule(*one) for one in rules]
    for order in (made, made[::-1]):
        found = choose_rule(order, JOB)
        assert (str(found.selector) if found else None) == chosen


def test_when_a_job_is_due() -> None:
    """From the instant on that its time is over; never without a rule or under a hold."""
    one = rule("*", 1)
    end = NOW + timedelta(days=1)
    assert [is_due(one, JOB, at) for at in (end - timedelta(microseconds=1), end)] == [False, True]
    assert not is_due(None, JOB, end)
    assert not is_due(replace(one, keep=None), JOB, end)
