"""Rules about how long results are kept: which jobs a rule is about, and which of several rules holds for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Self

from orchestrator.domain.errors import Fault, InvalidParams

EVERYTHING = "*"
HINT = "write kind:video, tag:campaign=spring, batch:ID, job:ID, or * for every job"


class Field(IntEnum):
    """What a rule looks at; the higher one is the closer to the job, and holds over the others."""

    ALL = 0
    KIND = 1
    TAG = 2
    BATCH = 3
    JOB = 4


@dataclass(frozen=True)
class Selector:
    """Which jobs a rule is about."""

    field: Field
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the selector that a person wrote. Raises InvalidParams."""
        if text == EVERYTHING:
            return cls(Field.ALL)
        name, colon, value = text.partition(":")
        field = {f.name.lower(): f for f in Field if f is not Field.ALL}.get(name)
        if field is None or not colon or not value or (field is Field.TAG and not value.partition("=")[0]):
            raise InvalidParams([Fault("invalid_selector", "selector", f"{text!r} names no jobs", HINT)])
        if field is Field.TAG and "=" not in value:
            raise InvalidParams([Fault("invalid_selector", "selector", f"{text!r} says no value", "tag:NAME=VALUE")])
        return cls(field, value)

    def __str__(self) -> str:
        return EVERYTHING if self.field is Field.ALL else f"{self.field.name.lower()}:{self.value}"

    def covers(self, job: Kept) -> bool:
        """Return True when the job is one of those meant."""
        match self.field:
            case Field.ALL:
                return True
            case Field.KIND:
                return job.kind == self.value
            case Field.TAG:
                name, _, value = self.value.partition("=")
                return job.tags.get(name) == value
            case Field.BATCH:
                return self.value in job.batch_ids
            case Field.JOB:
                return job.id == self.value


@dataclass(frozen=True)
class Rule:
    """`keep` None is a legal hold. Until somebody has agreed to what it deletes (`agreed_at`), it deletes nothing."""

    selector: Selector
    keep: timedelta | None
    created_at: datetime
    created_by: str
    reason: str = ""
    agreed_at: datetime | None = None


@dataclass(frozen=True)
class KeptFile:
    """An output of a job in the archive; its bytes and those of its thumbnail."""

    output_id: str
    key: str
    byte_count: int


@dataclass(frozen=True)
class Kept:
    """A final job as retention sees it: no word of its request is needed."""

    id: str
    kind: str
    tags: Mapping[str, str]
    batch_ids: frozenset[str]
    archive_url: str
    created_at: datetime
    finished_at: datetime
    files: tuple[KeptFile, ...] = ()


def choose_rule(rules: Iterable[Rule], job: Kept) -> Rule | None:
    """Return the rule that holds for a job: any hold before all else, then the closest, then the one that keeps longest."""
    mine = [rule for rule in rules if rule.selector.covers(job)]
    return max(mine, key=_strength, default=None)


def is_due(rule: Rule | None, job: Kept, now: datetime) -> bool:
    """Return True when the rule says that the job's results go."""
    return rule is not None and rule.keep is not None and job.finished_at + rule.keep <= now


def _strength(rule: Rule) -> tuple[bool, int, timedelta]:
    return rule.keep is None, rule.selector.field, rule.keep or timedelta()
