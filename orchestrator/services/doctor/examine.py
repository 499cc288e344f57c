"""The examination: every look in turn, its findings rendered, counted and kept in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.audit import Finding, Violation, render
from orchestrator.domain.errors import StepError
from orchestrator.domain.ports.audit import Audit, Journals, Ledger
from orchestrator.services.doctor.archive import Archives, compare_archives
from orchestrator.services.doctor.journals import compare_journals, find_overdue
from orchestrator.services.doctor.ledger import compare_ledger
from orchestrator.services.doctor.look import Look, Seen
from orchestrator.services.doctor.place import Place, look_around, look_at_clock

LISTED = 50
"""Findings of one code that are told one by one; the rest are counted. A broken rule can concern a million rows."""


@dataclass(frozen=True)
class Patient:
    """What is examined. `audit` None: the job table cannot be read, and `problems` say why. `place` None: only what
    was written is compared, not where it is kept.
    """

    audit: Audit | None
    archives: Archives
    journals: Journals
    max_unknown_per_hour: int
    ledger: Ledger | None = None
    place: Place | None = None
    problems: tuple[Violation | Look, ...] = ()


@dataclass(frozen=True)
class Report:
    """`findings` are at most LISTED of a code, `counts` all of them; `looks` tell what was looked at."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    looks: tuple[Look, ...]
    fixed: tuple[Look, ...] = field(default=())

    @property
    def is_healthy(self) -> bool:
        """True when nothing at all was found."""
        return not self.findings


def examine(patient: Patient, *, fixed: tuple[Look, ...] = ()) -> Report:
    """Look at everything. What cannot be reached is a finding, never an error. Writes nothing but a probe object."""
    findings: list[Finding] = []
    looks: list[Look] = []
    counts: Counter[str] = Counter()
    for seen in _look(patient):
        if isinstance(seen, Look):
            looks.append(seen)
            continue
        counts[seen.code] += 1
        if counts[seen.code] <= LISTED:
            findings.append(render(seen))
    return Report(tuple(findings), dict(counts), tuple(looks), fixed)


def _look(patient: Patient) -> Seen:
    yield from patient.problems
    if patient.audit is not None:
        try:
            yield from _compare(patient, patient.audit)
        except StepError as error:  # the looks tell of everything else by themselves: this was the database
            yield Violation("database_unreachable", "database", {"problem": str(error)})
    if patient.place is not None:
        yield from look_around(patient.place, patient.archives)


def _compare(patient: Patient, audit: Audit) -> Seen:
    yield from audit.find_violations(max_unknown_per_hour=patient.max_unknown_per_hour)
    yield Look("job table", "every rule was checked")
    if patient.place is not None:
        yield from look_at_clock(audit, patient.place.clock)
        yield from find_overdue(patient.journals, audit, patient.place.clock.now())
    yield from compare_journals(patient.journals, audit)
    if patient.ledger is not None:
        yield from compare_ledger(patient.ledger, audit)
    yield from compare_archives(patient.archives, audit)
