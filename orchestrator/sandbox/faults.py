"""Fault rules: which of them a call meets (surfaces.md section 6). What a fault does is written where it happens:
`submissions`, `results` and `files`.

A rule without a phase is placed by its path or method, else by the nature of its fault (DEFAULT_PHASES). `after` lets
that many matching calls pass first. `seconds` is the length of a burst for refusals, counted from its first hit; the
length of a hang; the age at which a task fails; the length of a slow task; the pause between the bytes of a drip.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from orchestrator.sandbox.fields import SandboxConfigError, number, whole

# Faults that are an answer of section 9; `bad_gateway` is the HTML page of something in front of the provider.
REFUSALS = {
    "rate_limit": "1302",
    "overload": "1305",
    "arrears": "1113",
    "auth": "1002",
    "content_policy": "1301",
    "duplicate_request": "1231",
    "server_error": "500",
    "bad_gateway": "502",
}
ANSWER_FAULTS = ("hang", "reset", "lost_answer", "malformed_answer")
TASK_FAULTS = ("fail", "unknown_status", "empty_result", "slow_task")
LINK_FAULTS = ("dead_link", "truncated", "html_body", "wrong_type", "zero_bytes", "drip", "endless", "redirect")
# Ways in which a malformed_answer is malformed, chosen by the rule's reason; `answers` makes them.
MALFORMED_WAYS = (
    *("truncated", "html", "text", "empty_body", "bom", "not_utf8", "array", "null", "deep"),
    *("no_id", "null_id", "empty_id", "number_id", "object_id", "huge_id", "constant_id", "two_ids"),
)
FAULTS = (*REFUSALS, *ANSWER_FAULTS, *TASK_FAULTS, *LINK_FAULTS)
PHASES = ("submit", "poll", "link")
DEFAULT_PHASES: dict[str, tuple[str, ...]] = {
    "auth": ("submit", "poll"),
    "unknown_status": ("poll",),
    "empty_result": ("submit", "poll"),  # a submit that is answered at once holds its result
    **dict.fromkeys(LINK_FAULTS, ("link",)),
}


@dataclass(frozen=True)
class Rule:
    """One fault rule, checked. Beyond surfaces.md: `code` replaces a refusal's business code, `retry_after` adds that
    header, `charged` says whether the task was created before the fault, `bytes` is where a body is cut or the size of
    a drip's drop.
    """

    fault: str
    path: str | None = None
    method: str | None = None
    phase: str | None = None
    model: str | None = None
    times: int | None = None
    probability: float | None = None
    after: int = 0
    seconds: float | None = None
    status: int | None = None
    reason: str | None = None
    code: str | None = None
    retry_after: float | None = None
    charged: bool | None = None
    bytes: int | None = None

    def phases(self) -> tuple[str, ...]:
        """The phases the rule is for: its own, else what its path or method implies, else its fault's."""
        if self.phase is not None:
            return (self.phase,)
        if self.path is not None:
            return (_phase_of_path(self.path),)
        if self.method is not None and self.fault not in LINK_FAULTS:
            return ("submit",) if self.method == "POST" else ("poll",)
        return DEFAULT_PHASES.get(self.fault, ("submit",))

    def matches(self, call: "Meeting") -> bool:
        return (
            call.phase in self.phases()
            and (self.method is None or self.method == call.method)
            and (self.model is None or self.model == call.model)
            and (self.path is None or call.path == self.path or call.path.startswith(self.path.rstrip("/") + "/"))
        )

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None and (name, value) != _NO_WAIT}


_NO_WAIT = ("after", 0)


@dataclass(frozen=True)
class Meeting:
    """A call as rules see it. The path is the one below the API base, or the whole path of a link."""

    phase: str
    method: str
    path: str
    model: str


def _phase_of_path(path: str) -> str:
    if path.startswith("/async-result"):
        return "poll"
    return "link" if path.startswith("/_files") else "submit"


def parse_rules(document: object) -> tuple[Rule, ...]:
    """Checks a list of rules; SandboxConfigError names the rule and the field."""
    if not isinstance(document, list):
        raise SandboxConfigError("faults: a list of rules is needed")
    return tuple(_parse_rule(f"faults[{index}]", rule) for index, rule in enumerate(document))


def _parse_rule(where: str, rule: object) -> Rule:
    if not isinstance(rule, dict):
        raise SandboxConfigError(f"{where}: an object is needed")
    known = [spec.name for spec in fields(Rule)]
    if unknown := sorted(set(rule) - set(known)):
        raise SandboxConfigError(f"{where}.{unknown[0]}: no such field, known are {', '.join(known)}")
    if rule.get("fault") not in FAULTS:
        raise SandboxConfigError(f"{where}.fault: one of {', '.join(FAULTS)} is needed, not {rule.get('fault')!r}")
    if rule.get("phase") not in (None, *PHASES):
        raise SandboxConfigError(f"{where}.phase: one of {', '.join(PHASES)} is needed, not {rule['phase']!r}")
    given = {name: value for name, value in rule.items() if value is not None}
    for name, value in given.items():
        _check_value(f"{where}.{name}", name, value)
    parsed = Rule(**given)
    if parsed.fault in LINK_FAULTS and parsed.phases() != ("link",):
        raise SandboxConfigError(f"{where}.phase: {parsed.fault} happens on links only")
    if parsed.fault == "malformed_answer" and parsed.reason not in (None, *MALFORMED_WAYS):
        raise SandboxConfigError(f"{where}.reason: one of {', '.join(MALFORMED_WAYS)} is needed, not {parsed.reason!r}")
    return parsed


def _check_value(where: str, name: str, value: object) -> None:
    if name in ("times", "after", "bytes"):
        whole(where, value, least=0)
    elif name == "status":
        whole(where, value, least=200, most=599)
    elif name in ("seconds", "retry_after"):
        number(where, value, least=0)
    elif name == "probability":
        number(where, value, least=0, most=1)
    elif name == "charged":
        if not isinstance(value, bool):
            raise SandboxConfigError(f"{where}: true or false is needed, not {value!r}")
    elif not isinstance(value, str):
        raise SandboxConfigError(f"{where}: a text is needed, not {value!r}")


@dataclass
class _Count:
    met: int = 0
    hits: int = 0
    first_hit_at: float | None = None


class FaultBook:
    """The list of rules with what each has done so far. The first that matches and has times left wins; chance is
    drawn from the seed, the rule's place and how many calls it has met, so a run can be repeated.
    """

    def __init__(self, rules: Sequence[Rule], *, seed: int, counts: Sequence[dict[str, Any]] = ()) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self._counts = [_Count(**count) for count in counts] or [_Count() for _ in self.rules]

    def pick(self, call: Meeting, *, now: float, applicable: Collection[str] = FAULTS) -> Rule | None:
        """The rule this call meets, used up by one; None for a call without a fault."""
        for index, (rule, count) in enumerate(zip(self.rules, self._counts, strict=True)):
            if rule.fault in applicable and rule.matches(call) and not _is_spent(rule, count, now):
                count.met += 1
                if count.met > rule.after and self._drawn(index, rule, count):
                    count.hits += 1
                    count.first_hit_at = now if count.first_hit_at is None else count.first_hit_at
                    return rule
        return None

    def give_back(self, rule: Rule) -> None:
        """Undoes a pick that came to nothing because the call was refused for another reason."""
        count = self._counts[next(index for index, own in enumerate(self.rules) if own is rule)]
        count.hits -= 1
        count.met -= 1
        if count.hits == 0:
            count.first_hit_at = None

    def _drawn(self, index: int, rule: Rule, count: _Count) -> bool:
        if rule.probability is None:
            return True
        return random.Random(f"{self.seed}:fault:{index}:{count.met}").random() < rule.probability

    def hits(self) -> list[int]:
        """How often each rule has struck, in the order of the list."""
        return [count.hits for count in self._counts]

    def as_json(self) -> dict[str, Any]:
        return {"rules": [rule.as_json() for rule in self.rules], "counts": [asdict(count) for count in self._counts]}


def _is_spent(rule: Rule, count: _Count, now: float) -> bool:
    if rule.times is not None and count.hits >= rule.times:
        return True
    burst = rule.fault in REFUSALS and rule.seconds is not None and count.first_hit_at is not None
    return burst and now >= (count.first_hit_at or 0) + (rule.seconds or 0)
