"""The Audit port: walks the tables, and answers what the comparison with archive, journals and ledger asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, Select, and_, func, or_, select

from orchestrator.db.audit import batches, jobs, lanes, outputs, submissions, webhooks
from orchestrator.db.audit.spans import find_broken, find_each, iter_spans
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS
from orchestrator.db.outbox import WEBHOOK_EVENTS
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, read_output
from orchestrator.db.tokens import token_prefix
from orchestrator.db.types import Utc
from orchestrator.domain.audit import Violation
from orchestrator.domain.job import Origin, StoredFile, Verdict
from orchestrator.domain.ports.audit import ArchivedJob, Call
from orchestrator.domain.states import State, Trigger

PAGE = 500
_CALL = ("id", "job_id", "verdict", "task_id", "superseded_at", "http_status", "raw_answer", "origin")


class SqlAudit:
    """Reads the whole job table and writes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_violations(self, *, max_unknown_per_hour: int) -> Iterator[Violation]:
        """Yield every rule that the rows break. Each statement sees one state of the tables, the next a later one."""
        database = self._database
        now = database.read(database.now)
        for span in iter_spans(database, JOBS.c.id):
            around = jobs.look_around_jobs(span)
            yield from find_broken(database, jobs.select_jobs(span, around), jobs.job_rules(around, now))
            yield from outputs.find_dying_links(database, span, now)
        for span in iter_spans(database, SUBMISSIONS.c.id):
            rules = submissions.submission_rules()
            yield from find_broken(database, submissions.select_submissions(span), rules)
        for span in iter_spans(database, OUTPUTS.c.id):
            yield from find_broken(database, outputs.select_outputs(span), outputs.output_rules())
        for span in iter_spans(database, batches.BATCHES.c.id):
            yield from find_broken(database, batches.select_batches(span), batches.batch_rules(now))
        yield from find_each(database, "task_id_twice", submissions.select_shared_tasks())
        yield from database.read(lambda c: submissions.find_unknowns(c, now, max_unknown_per_hour))
        for query in lanes.select_dead_probes(now):
            yield from find_each(database, "probe_dead", query)
        for span in iter_spans(database, WEBHOOK_EVENTS.c.id):
            yield from find_each(database, "event_unaddressed", webhooks.select_unaddressed(span))
        yield from find_each(database, "deliveries_wait", webhooks.select_waiting(now, is_disabled=False))
        yield from find_each(database, "deliveries_unsigned", webhooks.select_unsigned())
        yield from find_each(database, "deliveries_stranded", webhooks.select_waiting(now, is_disabled=True))
        yield from database.read(lambda c: lanes.find_idle_sweeps(c, now))
        yield from database.read(_find_held)

    def find_calls(self, submission_ids: Collection[str]) -> Mapping[str, Call]:
        """Return those of these submissions that are here."""
        found: dict[str, Call] = {}
        for chunk in _chunks(submission_ids):
            query = _select_calls().where(SUBMISSIONS.c.id.in_(chunk))
            found |= {call.id: call for call in self._read_calls(query)}
        return found

    def iter_calls(self) -> Iterator[Call]:
        """Yield every submission that was accepted, or is unknown and unsettled."""
        is_open = and_(SUBMISSIONS.c.verdict == Verdict.UNKNOWN, SUBMISSIONS.c.superseded_at.is_(None))
        wanted = or_(SUBMISSIONS.c.verdict == Verdict.ACCEPTED, is_open)
        for span in iter_spans(self._database, SUBMISSIONS.c.id):
            yield from self._read_calls(_select_calls().where(span.of(SUBMISSIONS.c.id), wanted))

    def _read_calls(self, query: Select[tuple[object, ...]]) -> list[Call]:
        return self._database.read(lambda c: [_read_call(row) for row in c.execute(query).mappings()])

    def count_agreed(self, job_ids: Collection[str]) -> Mapping[str, int]:
        """Return how often each of these jobs may have been charged. Of a rebuilt one each call was agreed to: the events
        that said so were lost with the old table.
        """
        asked = or_(
            EVENTS.c.type == Trigger.RESUBMIT,
            and_(EVENTS.c.type == Trigger.RETRIED, EVENTS.c.to_state == State.QUEUED),
            and_(EVENTS.c.type == Trigger.RELEASED, EVENTS.c.to_state == State.QUEUED),
        )
        counts = dict.fromkeys(job_ids, 1)
        for chunk in _chunks(job_ids):
            query = select(EVENTS.c.job_id, func.count()).where(EVENTS.c.job_id.in_(chunk), asked)
            query = query.group_by(EVENTS.c.job_id)
            for job_id, count in self._database.read(lambda c, query=query: c.execute(query).all()):  # type: ignore[misc]
                counts[job_id] += count
            again = select(JOBS.c.id, JOBS.c.submission_count - 1).join(EVENTS, EVENTS.c.job_id == JOBS.c.id)
            again = again.where(JOBS.c.id.in_(chunk), EVENTS.c.type == Trigger.REBUILT, JOBS.c.submission_count > 1)
            for job_id, count in self._database.read(lambda c, again=again: c.execute(again).all()):  # type: ignore[misc]
                counts[job_id] += count
        return counts

    def iter_archived(self) -> Iterator[ArchivedJob]:
        """Yield every job that has files in an archive, by id, some hundred at a time."""
        after = ""
        while page := self._read_archived(after):
            yield from (job for job in page if job.files)
            after = page[-1].id

    def _read_archived(self, after: str) -> list[ArchivedJob]:
        some = select(JOBS.c.id, JOBS.c.archive_url, JOBS.c.created_at, JOBS.c.state)
        some = some.where(JOBS.c.id > after).order_by(JOBS.c.id).limit(PAGE)

        def work(connection: Connection) -> list[ArchivedJob]:
            rows = connection.execute(some).mappings().all()
            files = _load_files(connection, [row["id"] for row in rows])
            return [
                ArchivedJob(
                    id=row["id"],
                    archive_url=row["archive_url"],
                    created_at=row["created_at"],
                    is_succeeded=row["state"] == State.SUCCEEDED,
                    files=files.get(row["id"], {}),
                )
                for row in rows
            ]

        return self._database.read(work)

    def find_archived(self, job_ids: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """Return the archived keys of these jobs; None for one that may be storing right now."""

        def work(connection: Connection) -> dict[str, frozenset[str] | None]:
            found: dict[str, frozenset[str] | None] = {}
            for chunk in _chunks(job_ids):
                files = _load_files(connection, chunk)
                for row in connection.execute(select(JOBS.c.id, JOBS.c.state).where(JOBS.c.id.in_(chunk))):
                    keys = frozenset(file.key for file in files.get(row.id, {}).values())
                    found[row.id] = None if row.state in (State.ARCHIVING, State.PROCESSING) else keys
            return found

        return self._database.read(work)

    def find_oldest_job(self) -> datetime | None:
        """Return when the first job was made; ids sort by time, and are indexed."""
        query = select(JOBS.c.created_at).order_by(JOBS.c.id).limit(1)
        return self._database.read(lambda c: c.execute(query).scalar_one_or_none())

    def list_archive_urls(self) -> Sequence[str]:
        """Return every archive that batches name, and with them their jobs."""
        query = select(batches.BATCHES.c.archive_url).distinct().order_by(batches.BATCHES.c.archive_url)
        return self._database.read(lambda c: c.execute(query).scalars().all())

    def count_leases(self, process: str) -> int:
        """Count the jobs that a process holds (its name begins the token) or is sending."""
        prefix = token_prefix(process)
        held = func.substr(JOBS.c.lease_token, 1, len(prefix)) == prefix
        is_leased = JOBS.c.state.in_((State.PROCESSING, State.ARCHIVING))
        leased = select(func.count()).select_from(JOBS).where(is_leased, held)
        is_open = and_(SUBMISSIONS.c.process == process, SUBMISSIONS.c.verdict.is_(None))
        sending = select(func.count()).select_from(SUBMISSIONS).where(is_open)
        return self._database.read(lambda c: c.execute(leased).scalar_one() + c.execute(sending).scalar_one())

    def server_time(self) -> datetime | None:
        """Return the database server's time, None where the database is a file of this host."""
        if self._database.is_sqlite:
            return None
        query = select(func.clock_timestamp(type_=Utc()))
        return self._database.read(lambda c: c.execute(query).scalar_one())


def _find_held(connection: Connection) -> list[Violation]:
    held = select(func.count()).select_from(JOBS).where(JOBS.c.state == State.NEEDS_REVIEW)
    count = connection.execute(held).scalar_one()
    return [Violation("needs_review", f"{count} job{'' if count == 1 else 's'}")] if count else []


def _select_calls() -> Select[tuple[object, ...]]:
    return select(*(SUBMISSIONS.c[name] for name in _CALL))


def _read_call(row: RowMapping) -> Call:
    return Call(
        id=row["id"],
        job_id=row["job_id"],
        verdict=row["verdict"],
        task_id=row["task_id"],
        is_unsettled=row["verdict"] == Verdict.UNKNOWN and row["superseded_at"] is None,
        has_answer=row["raw_answer"] is not None or row["http_status"] is not None,
        is_ours=row["origin"] == Origin.OURS,
    )


def _load_files(connection: Connection, job_ids: Sequence[str]) -> dict[str, dict[str, StoredFile]]:
    query = select(OUTPUTS).where(OUTPUTS.c.job_id.in_(job_ids), OUTPUTS.c.archived_at.is_not(None))
    found: dict[str, dict[str, StoredFile]] = {}
    for row in connection.execute(query).mappings():
        output = read_output(row)
        if output.kept is not None and output.kept.key:
            found.setdefault(output.job_id, {})[output.id] = output.kept
    return found


def _chunks(ids: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), PAGE):
        yield ordered[start : start + PAGE]
