"""The values of an audit: what a check saw, what is told of it, and what the provider's ledger says."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.audit.rules import RULES, Severity


@dataclass(frozen=True)
class Violation:
    """A rule that does not hold, for one subject (a job, an output, a file ...), with the facts that its words name."""

    code: str
    subject: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A violation as people and programs are told of it. `mend` is a command, or words where no command helps."""

    code: str
    severity: Severity
    subject: str
    words: str
    mend: str


@dataclass(frozen=True)
class Charge:
    """One task as the provider's own ledger has it. `can_be_asked`: its result can be asked for later; what was made
    within the call was in that answer only.
    """

    task_id: str
    request_id: str
    is_charged: bool
    can_be_asked: bool = True


def render(violation: Violation) -> Finding:
    """Put a violation into words."""
    rule = RULES[violation.code]
    facts = {name: _text(value) for name, value in violation.facts.items()} | {"subject": violation.subject}
    typed = {name: shlex.quote(text) for name, text in facts.items()}  # a file's name must not become a command
    return Finding(rule.code, rule.severity, violation.subject, rule.words.format(**facts), rule.mend.format(**typed))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return "nothing" if value is None else str(value)
