"""What is left after a round, counted from the job table and the provider's own ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.domain.job import Verdict
from orchestrator.domain.ports.audit import Call
from orchestrator.domain.states import ACTIVE, State
from orchestrator.wiring import App
from tests.acceptance.runs import AFTER_A_KILL
from tests.health import find_anything

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """One round. `lost`: accepted jobs that are gone or never ended; `twice`: jobs charged more often than agreed.

    `orphans`: tasks the provider charged that no job knows and no held job explains. `attached`: held jobs whose task
    stood in the provider's ledger, led to their end by its id as a person would. `above_limit`: the most tasks of one
    model that the provider saw at once beyond the limit. `findings` are the doctor's, but for held calls and
    `stray_objects`: files that were stored just before a death and that no row names (docs/operations.md).
    """

    mode: str
    seed: int
    jobs: int
    states: Mapping[str, int]
    held: int
    attached: int
    lost: int
    twice: int
    orphans: int
    above_limit: int
    findings: Mapping[str, int]
    stray_objects: int
    failures: Mapping[str, int]
    """Failed jobs by code: each has a cause at the provider, whose faults are part of the plan."""

    kills: int
    flushes: int = 0
    broker_restarts: int = 0
    database_crashes: int = 0
    seconds: float = 0.0
    commit: str = ""
    command: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def is_good(self) -> bool:
        """True when nothing was lost, paid twice, forgotten or sent beyond a limit, and the doctor agrees."""
        return not (self.lost or self.twice or self.orphans or self.above_limit or self.findings)

    def as_json(self) -> dict[str, object]:
        """Return the round's line in the figures' file."""
        return asdict(self)


@dataclass(frozen=True)
class Charges:
    """Both sides of the money: what the provider charged, and the call of ours that each charge is for."""

    rows: tuple[Row, ...]
    calls: Mapping[str, Call]

    @classmethod
    def read(cls, app: App, rows: Iterable[Row]) -> Charges:
        """Read our calls beside those rows of the provider's ledger that cost something."""
        charged = tuple(row for row in rows if row["charged"])
        return cls(charged, app.audit.find_calls({str(row["request_id"]) for row in charged}))

    def count_twice(self) -> int:
        """Return how many jobs were charged more than once: nobody agrees to a second charge here."""
        jobs = Counter(self.calls[row["request_id"]].job_id for row in self.rows if row["request_id"] in self.calls)
        return sum(count > 1 for count in jobs.values())

    def find_unlinked(self) -> list[tuple[str | None, str]]:
        """Return the job, if any, and the task of every charge whose answer is on no submission of ours."""
        unlinked = []
        for row in self.rows:
            call = self.calls.get(str(row["request_id"]))
            if call is None or not is_linked(row, call):
                unlinked.append((call.job_id if call else None, str(row["id"])))
        return unlinked


def is_linked(row: Row, call: Call) -> bool:
    """Say whether our books have what the provider gave: the task's id, or the whole answer where there is no task."""
    return call.verdict == Verdict.ANSWERED if row["route"] == "sync" else call.task_id == row["id"]


def count_orphans(unlinked: Iterable[tuple[str | None, str]], held: Collection[str]) -> int:
    """Return how many of these tasks no held job explains."""
    return sum(job not in held for job, _ in unlinked)


def count_lost(accepted: Collection[str], states: Mapping[str, State]) -> int:
    """Return how many accepted jobs are gone, or still not at an end."""
    return sum(job not in states or states[job] in ACTIVE for job in accepted)


def count_findings(app: App, rows: Iterable[Row]) -> Counter[str]:
    """Return what the doctor finds beyond calls that are honestly held, by code. Everything archived is hashed."""
    found = find_anything(app, ledger=rows)
    return Counter(finding.code for finding in found if finding.code not in AFTER_A_KILL)
