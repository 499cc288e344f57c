"""The score of a round: what counts as lost, paid twice or forgotten. A harness that cannot fail proves nothing."""

from __future__ import annotations

import pytest

from orchestrator.domain.job import Verdict
from orchestrator.domain.ports.audit import Call
from orchestrator.domain.states import State
from scripts.chaos.__main__ import BAD, COUNTED, sum_up
from scripts.chaos.plan import Plan
from scripts.chaos.score import Charges, count_lost, count_orphans


def make_call(name: str, job: str, *, verdict: str = Verdict.ACCEPTED, task: str | None = None) -> Call:
    return Call(name, job, verdict, task, is_unsettled=verdict == Verdict.UNKNOWN, has_answer=True, is_ours=True)


def make_row(name: str, request: str, route: str = "async") -> dict[str, object]:
    return {"id": name, "request_id": request, "charged": True, "route": route}


def test_a_job_that_is_gone_or_never_ended_is_lost() -> None:
    """Held, failed and cancelled jobs are ends that are said."""
    states = {"a": State.SUCCEEDED, "b": State.PROCESSING, "c": State.NEEDS_REVIEW, "d": State.FAILED}
    assert count_lost({"a", "b", "c", "d", "gone"}, states) == 2


def test_two_charges_of_one_job_are_one_too_many() -> None:
    """Whichever calls of it they were for."""
    calls = {"s1": make_call("s1", "a", task="t1"), "s2": make_call("s2", "a", task="t2"), "s3": make_call("s3", "b")}
    charges = Charges((make_row("t1", "s1"), make_row("t2", "s2"), make_row("t3", "s3")), calls)
    assert charges.count_twice() == 1


def test_a_task_that_no_job_knows_is_an_orphan_unless_its_job_is_held() -> None:
    """An answer at once has no task to know: there the answer counts."""
    calls = {
        "s1": make_call("s1", "a", task="t1"),
        "s2": make_call("s2", "b", verdict=Verdict.UNKNOWN),
        "s3": make_call("s3", "c", verdict=Verdict.UNKNOWN),
        "s4": make_call("s4", "d", verdict=Verdict.ANSWERED),
    }
    rows = (make_row("t1", "s1"), make_row("t2", "s2"), make_row("t3", "s3"), make_row("t4", "s4", "sync"))
    unlinked = Charges((*rows, make_row("t5", "nobody's")), calls).find_unlinked()
    assert unlinked == [("b", "t2"), ("c", "t3"), (None, "t5")]
    assert count_orphans(unlinked, held={"b"}) == 2


@pytest.mark.parametrize("what", [None, *BAD, "findings"])
def test_the_exit_code_says_it(what: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """And the last line how to see it again."""
    score = {**dict.fromkeys(COUNTED, 0), "states": {}, "findings": {}, "seed": 3}
    if what is not None:
        score[what] = {"charged_twice": 1} if what == "findings" else 1
    assert sum_up([score], "python -m scripts.chaos --seed 1 --rounds 9 --jobs 5") == (1 if what else 0)
    assert ("--seed 3" in capsys.readouterr().out) is (what is not None)


def test_a_round_is_the_same_for_the_same_seed() -> None:
    """So is every job of it; no two are alike, or one would answer for the other."""
    lines = Plan(seed=4, jobs=50, kills=0).lines()
    assert lines == Plan(seed=4, jobs=50, kills=0).lines()
    assert len({str(line["body"]) for line in lines}) == 50
