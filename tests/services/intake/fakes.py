"""In-memory stand-ins at the ports: batches and an object store, no more of them than intake asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Batch, NewJob
from orchestrator.domain.ports import JobCounts, Member, ObjectFacts, UnpaidCost


class Killed(BaseException):
    """Stands for the death of the process at a named point."""


@dataclass
class FakeBatches:
    """Batches and their jobs in dictionaries. `steps_left` writes happen before the process dies."""

    batches: dict[str, Batch] = field(default_factory=dict)
    jobs: dict[str, NewJob] = field(default_factory=dict)
    members: dict[str, dict[int, Member]] = field(default_factory=dict)
    webhooks: set[tuple[str, str]] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    steps_left: int | None = None
    asked_counts: list[int] = field(default_factory=list)

    def _step(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise Killed

    def find_newest(self, identity_sha256: str, environment: str) -> Batch | None:
        found = [
            b for b in self.batches.values() if (b.identity_sha256, b.environment) == (identity_sha256, environment)
        ]
        return max(found, key=lambda batch: batch.generation, default=None)

    def get(self, batch_id: str) -> Batch:
        return self.batches[batch_id]

    def create(self, batch: Batch) -> None:
        self._step()
        same = (batch.identity_sha256, batch.environment, batch.generation)
        if any((b.identity_sha256, b.environment, b.generation) == same for b in self.batches.values()):
            raise Conflict("there is one already")
        self.batches[batch.id] = batch
        self.members[batch.id] = {}

    def add_jobs(
        self, batch_id: str, jobs: Sequence[NewJob], *, actor: str, links: Sequence[tuple[int, str, str]] = ()
    ) -> int:
        self._step()
        if self.batches[batch_id].cancel_requested_at is not None:
            return 0
        fresh = [job for job in jobs if job.line_number not in self.members[batch_id]]
        for job in fresh:
            assert job.line_number is not None
            self.jobs[job.id] = job
            self.members[batch_id][job.line_number] = Member(job.line_number, job.id, job.custom_id, job.body_sha256)
        self._link(batch_id, links)
        return len(fresh)

    def find_last_line(self, batch_id: str) -> int:
        return max(self.members[batch_id], default=0)

    def link_existing(self, batch_id: str, links: Sequence[tuple[int, str, str]]) -> None:
        self._step()
        self._link(batch_id, links)

    def _link(self, batch_id: str, links: Sequence[tuple[int, str, str]]) -> None:
        for line, custom_id, job_id in links:
            member = Member(line, job_id, custom_id, self.jobs[job_id].body_sha256)
            self.members[batch_id].setdefault(line, member)

    def find_equal(
        self, environment: str, keys: Sequence[tuple[str, str]], *, outside: str | None = None, owner: str = "local"
    ) -> Mapping[tuple[str, str], str]:
        self.asked_counts.append(len(keys))
        found: dict[tuple[str, str], str] = {}
        for job in self.jobs.values():
            assert job.batch_id is not None
            key = (job.custom_id or "", job.body_sha256)
            is_theirs = job.owner == owner and self.batches[job.batch_id].environment == environment
            if key in keys and job.batch_id != outside and is_theirs:
                found[key] = job.id
        return found

    def list_members(self, batch_id: str, *, after_line: int = 0, limit: int = 500) -> Sequence[Member]:
        lines = sorted(self.members[batch_id])
        return [self.members[batch_id][line] for line in lines if line > after_line][:limit]

    def price_unpaid(self, batch_id: str) -> UnpaidCost:
        prices = [self.jobs[member.job_id].price for member in self.members[batch_id].values()]
        return UnpaidCost(sum(price.micros for price in prices if price), prices.count(None))

    def link_webhook(self, batch_id: str, url: str) -> None:
        self._step()
        self.webhooks.add((batch_id, url))

    def link_job_webhooks(self, owner: str, urls: Mapping[str, str]) -> int:
        self._step()
        self.webhooks |= set(urls.items())
        return len(self.ended & set(urls))

    def price_family(self, batch_id: str) -> UnpaidCost:
        return self.price_unpaid(batch_id)

    def set_budget(self, batch_id: str, micros: int) -> Sequence[str]:
        self._step()
        self.batches[batch_id] = replace(self.batches[batch_id], max_cost_micros=micros)
        return []

    def finish_intake(self, batch_id: str) -> None:
        self._step()
        self.batches[batch_id] = replace(self.batches[batch_id], is_intake_done=True)

    def finish_done(self) -> Sequence[str]:
        return []

    def count_states(self, batch_id: str) -> JobCounts:
        return JobCounts({"queued": len(self.members[batch_id])})


@dataclass
class FakeStore:
    """Objects in a dictionary."""

    url: str = "file:///archive"
    has_public_links: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    put_count: int = 0

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        sha256: str,
        content_type: str,
        metadata: Mapping[str, str],
        remember_upload: Callable[[str], None],
    ) -> None:
        data = path.read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256
        self.objects[key] = data
        self.put_count += 1

    def put_bytes(self, key: str, data: bytes, *, content_type: str) -> None:
        self.objects[key] = data

    def find(self, key: str) -> ObjectFacts | None:
        data = self.objects.get(key)
        return ObjectFacts(key, len(data), None) if data is not None else None

    def read_back(self, key: str) -> ObjectFacts:
        return ObjectFacts(key, len(self.objects[key]), hashlib.sha256(self.objects[key]).hexdigest())

    def read_chunks(self, key: str) -> Iterator[bytes]:
        yield self.objects[key]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def list_keys(self, prefix: str) -> Iterator[str]:
        return (key for key in self.objects if key.startswith(prefix))

    def sign_url(self, key: str, *, expires: timedelta, file_name: str | None = None) -> str:
        return f"{self.url}/{key}"

    def abort_stale_uploads(self, *, before: datetime) -> int:
        return 0


@dataclass
class FixedClock:
    """A clock that a test moves."""

    at: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def boottime(self) -> float:
        return self.at.timestamp()
