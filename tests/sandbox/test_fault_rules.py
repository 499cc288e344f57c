"""Which rule a call meets: the first that matches and has times left (surfaces.md section 6)."""

from typing import Any

import pytest

from orchestrator.sandbox import SandboxConfigError
from orchestrator.sandbox.faults import FAULTS, FaultBook, Meeting, Rule, parse_rules
from tests.sandbox.conftest import Caller

SUBMIT = Meeting("submit", "POST", "/videos/generations", "cogvideox-3")
POLL = Meeting("poll", "GET", "/async-result/1", "cogvideox-3")
LINK = Meeting("link", "GET", "/_files/cover/1.png", "cogvideox-3")


def met(rules: list[dict[str, Any]], call: Meeting, count: int, *, seed: int = 1) -> list[str | None]:
    book = FaultBook(parse_rules(rules), seed=seed)
    return [rule.fault if (rule := book.pick(call, now=0)) else None for _ in range(count)]


def test_the_first_rule_with_times_left_wins() -> None:
    rules = [{"fault": "rate_limit", "times": 2}, {"fault": "overload", "times": 1}]
    assert met(rules, SUBMIT, 4) == ["rate_limit", "rate_limit", "overload", None]


def test_after_lets_calls_pass_first() -> None:
    assert met([{"fault": "reset", "after": 2, "times": 1}], SUBMIT, 4) == [None, None, "reset", None]


@pytest.mark.parametrize(
    ("rule", "meets"),
    [
        ({"fault": "reset"}, (True, False, False)),
        ({"fault": "reset", "phase": "poll"}, (False, True, False)),
        ({"fault": "reset", "path": "/async-result"}, (False, True, False)),
        ({"fault": "reset", "path": "/async-res"}, (False, False, False)),
        ({"fault": "reset", "path": "/_files/cover"}, (False, False, True)),
        ({"fault": "reset", "method": "GET"}, (False, True, False)),
        ({"fault": "reset", "method": "POST"}, (True, False, False)),
        ({"fault": "reset", "path": "/videos/generations", "method": "GET"}, (False, False, False)),
        ({"fault": "reset", "model": "vidu2-image"}, (False, False, False)),
        ({"fault": "auth"}, (True, True, False)),
        ({"fault": "unknown_status"}, (False, True, False)),
        ({"fault": "dead_link"}, (False, False, True)),
        ({"fault": "dead_link", "method": "HEAD"}, (False, False, False)),
    ],
)
def test_matching(rule: dict[str, Any], meets: tuple[bool, bool, bool]) -> None:
    """A rule without a phase is placed by its path, its method or its fault."""
    assert tuple(met([rule], call, 1) != [None] for call in (SUBMIT, POLL, LINK)) == meets


def test_chance_is_drawn_from_the_seed() -> None:
    rules = [{"fault": "reset", "probability": 0.5}]
    assert met(rules, SUBMIT, 40) == met(rules, SUBMIT, 40)
    assert met(rules, SUBMIT, 40) != met(rules, SUBMIT, 40, seed=2)
    assert {"reset", None} == set(met(rules, SUBMIT, 40))


def test_a_burst_of_refusals_ends_with_its_seconds() -> None:
    book = FaultBook(parse_rules([{"fault": "overload", "seconds": 120}]), seed=1)
    assert [book.pick(SUBMIT, now=now) is not None for now in (1000, 1119, 1120, 5000)] == [True, True, False, False]


def test_a_fault_given_back_strikes_again() -> None:
    book = FaultBook([Rule("reset", times=1)], seed=1)
    for _ in range(2):
        rule = book.pick(SUBMIT, now=0)
        assert rule is not None
        book.give_back(rule)
    assert book.pick(SUBMIT, now=0) is not None
    assert book.pick(SUBMIT, now=0) is None


def test_a_refused_call_does_not_use_up_a_fault_of_the_task(api: Caller) -> None:
    """A lost answer waits for a task to lose the answer of."""
    api.put("faults", [{"fault": "slow_task", "seconds": 5000, "times": 1}])
    api.put("limits", {"cogvideox-3": 0})
    assert api.video().status_code == 429
    assert api.stats()["fault_hits"] == [0]


def test_every_fault_can_be_set_and_is_answered_as_it_was_given(api: Caller) -> None:
    rules = [{"fault": fault, "times": 3, "model": "cogvideox-3"} for fault in FAULTS]
    assert api.put("faults", rules) == rules


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({}, "faults[0].fault"),
        ({"fault": "earthquake"}, "faults[0].fault"),
        ({"fault": "reset", "time": 1}, "faults[0].time"),
        ({"fault": "reset", "times": -1}, "faults[0].times"),
        ({"fault": "reset", "times": "1"}, "faults[0].times"),
        ({"fault": "reset", "probability": 2}, "faults[0].probability"),
        ({"fault": "reset", "phase": "later"}, "faults[0].phase"),
        ({"fault": "reset", "status": 42}, "faults[0].status"),
        ({"fault": "reset", "seconds": True}, "faults[0].seconds"),
        ({"fault": "reset", "charged": 1}, "faults[0].charged"),
        ({"fault": "reset", "path": 5}, "faults[0].path"),
        ({"fault": "drip", "phase": "poll"}, "faults[0].phase"),
        ({"fault": "malformed_answer", "reason": "odd"}, "faults[0].reason"),
    ],
)
def test_a_wrong_rule_is_refused_by_the_name_of_its_field(api: Caller, rule: dict[str, Any], field: str) -> None:
    with pytest.raises(SandboxConfigError, match=r"^faults\[0\]") as error:
        parse_rules([rule])
    assert str(error.value).startswith(field)
    answer = api.client.put(f"{api.sandbox.control_url}/faults", json=[rule])
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, str(error.value))
