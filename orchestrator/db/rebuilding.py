"""Jobs made of their papers: inserted as they ended, with submissions, outputs and one event that says so.

Batches that are made for them are not the old ones: their identity is another, so that the same job file makes a new batch,
which finds these jobs as equal ones and pays only for what they lack (db.equal_jobs).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Table, and_, func, or_, select, update

from orchestrator.db.batch_sums import BATCHES, MEMBERS
from orchestrator.db.dependencies import DEPENDENCIES
from orchestrator.db.engine import Database
from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.inserts import insert_many
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, thumbnail_columns
from orchestrator.db.search import insert_searched
from orchestrator.domain import ids
from orchestrator.domain.decide.archive import SOURCE_HOSTS
from orchestrator.domain.errors import Permanent
from orchestrator.domain.papers import BatchPaper, JobPaper, OutputPaper, SubmissionPaper
from orchestrator.domain.ports.papers import Paper, Rebuilt
from orchestrator.domain.states import State, Trigger, check_transition
from orchestrator.domain.thumbnails import Thumbnail

Row = dict[str, object]
_CALL_COLUMNS = tuple(column.name for column in SUBMISSIONS.columns)
REASON = "rebuilt from its manifest.json in the archive"


def rebuild(database: Database, papers: Sequence[Paper], *, archive_url: str, actor: str) -> Rebuilt:
    """Insert what is not there yet, in one transaction; where that is refused, in one for each, so that it names whose."""
    try:
        return database.write(lambda c: _rebuild(c, database, papers, archive_url, actor))
    except Permanent as error:
        if len(papers) == 1:
            return Rebuilt((), (), {papers[0].key: str(error)}, {})
    each = [rebuild(database, [paper], archive_url=archive_url, actor=actor) for paper in papers]
    return Rebuilt(
        tuple(job_id for one in each for job_id in one.made),
        tuple(job_id for one in each for job_id in one.known),
        {key: why for one in each for key, why in one.refused.items()},
        {child: parent for one in each for child, parent in one.waiting.items()},
    )


def link_parents(database: Database, waiting: Mapping[tuple[str, str], str]) -> int:
    """Enter parents by (job, name) that are there by now; return how many are not."""

    def work(connection: Connection) -> int:
        known = _find_ids(connection, JOBS, set(waiting.values()))
        for (job_id, name), parent_id in waiting.items():
            if parent_id in known:
                mine = and_(DEPENDENCIES.c.job_id == job_id, DEPENDENCIES.c.parent_name == name)
                connection.execute(update(DEPENDENCIES).where(mine).values(parent_id=parent_id))
        return sum(parent_id not in known for parent_id in waiting.values())

    return database.write(work) if waiting else 0


def _rebuild(
    connection: Connection, database: Database, papers: Sequence[Paper], archive_url: str, actor: str
) -> Rebuilt:
    now = database.now(connection)
    there = _find_ids(connection, JOBS, {paper.manifest.job.id for paper in papers})
    by_id = {paper.manifest.job.id: paper for paper in reversed(papers)}  # of two, the first
    refused = {p.key: "another manifest of the same job was read before" for p in papers if by_id[_id(p)] is not p}
    wanted = [paper for job_id, paper in by_id.items() if job_id not in there]
    refused |= _find_taken(connection, wanted)
    new = sorted((paper for paper in wanted if paper.key not in refused), key=_id)
    batches = _enter_batches(connection, database, new, archive_url, now)
    rows = [_job_row(paper, batches, archive_url) for paper in new]
    insert_many(connection, JOBS, rows)
    insert_searched(connection, rows)
    insert_many(
        connection, SUBMISSIONS, [_call_row(p.manifest.job, s, batches) for p in new for s in p.manifest.submissions]
    )
    insert_many(connection, OUTPUTS, [_output_row(p, output) for p in new for output in p.manifest.outputs])
    insert_many(connection, MEMBERS, [_member_row(row) for row in rows if row["batch_id"] is not None])
    _count_lines(connection, set(batches.values()))
    waiting = _enter_dependencies(connection, new, batches)
    events = {_id(paper): [_event(paper, actor)] for paper in new}
    append_events(connection, events, dict.fromkeys(events, 1), now=now, rng=database.rng)
    return Rebuilt(tuple(events), tuple(sorted(there)), refused, waiting)


def _id(paper: Paper) -> str:
    return paper.manifest.job.id


def _find_ids(connection: Connection, table: Table, wanted: set[str]) -> set[str]:
    return set(connection.execute(select(table.c.id).where(table.c.id.in_(wanted))).scalars()) if wanted else set()


def _find_taken(connection: Connection, papers: Sequence[Paper]) -> dict[str, str]:
    """A task, a call or an output that another job has here already: two rows would claim one paid thing."""
    if not papers:
        return {}
    calls = {s.id: paper for paper in papers for s in paper.manifest.submissions}
    tasks = {s.task_id: paper for paper in papers for s in paper.manifest.submissions if s.task_id}
    is_taken = or_(SUBMISSIONS.c.id.in_(calls), SUBMISSIONS.c.task_id.in_(tasks))
    query = select(SUBMISSIONS.c.id, SUBMISSIONS.c.task_id, SUBMISSIONS.c.job_id).where(is_taken)
    found = {}
    for row in connection.execute(query):
        paper = calls.get(row.id) or tasks[row.task_id]
        found[paper.key] = f"task {row.task_id} is {row.job_id}'s here"
    return found


def _enter_batches(
    connection: Connection, database: Database, papers: Sequence[Paper], archive_url: str, now: datetime
) -> dict[str, str]:
    """Return, for each batch that the papers name, the one that stands for it here: found, or made."""
    named = {p.manifest.batch.id: p.manifest.batch for p in papers if p.manifest.batch is not None}
    identities = {_identity(batch): batch for batch in named.values()}
    query = select(BATCHES.c.id, BATCHES.c.identity_sha256).where(BATCHES.c.identity_sha256.in_(identities))
    found = {identities[row.identity_sha256].id: row.id for row in connection.execute(query)} if named else {}
    missing = [batch for batch_id, batch in named.items() if batch_id not in found]
    taken = _find_ids(connection, BATCHES, {batch.id for batch in missing})
    made = {b.id: ids.make_id(ids.BATCH, now=now, rng=database.rng) if b.id in taken else b.id for b in missing}
    insert_many(connection, BATCHES, [_batch_row(batch, made[batch.id], archive_url, now) for batch in missing])
    return found | made


def _identity(batch: BatchPaper) -> str:
    return hashlib.sha256(json.dumps(["rebuilt", batch.id, batch.environment]).encode()).hexdigest()


def _batch_row(batch: BatchPaper, batch_id: str, archive_url: str, now: datetime) -> Row:
    """Its files are not due: those in the archive know of more jobs than the rebuilt ones."""
    return _blank(BATCHES) | {
        "id": batch_id,
        "owner": batch.owner,
        "name": batch.name,
        "identity_sha256": _identity(batch),
        "environment": batch.environment,
        "archive_url": archive_url,
        "line_count": 0,
        "created_at": batch.created_at,
        "intake_done_at": now,
        "finished_at": now,
        "files_written_at": now,
        "generation": 1,
        "refused_count": 0,
    }


def _count_lines(connection: Connection, batch_ids: set[str]) -> None:
    """Lines whose jobs have no papers were lost with the old table; the batch is whole without them."""
    count = select(func.count()).where(MEMBERS.c.batch_id == BATCHES.c.id).correlate(BATCHES).scalar_subquery()
    connection.execute(update(BATCHES).where(BATCHES.c.id.in_(batch_ids)).values(line_count=count))


def _job_row(paper: Paper, batches: Mapping[str, str], archive_url: str) -> Row:
    job, manifest = paper.manifest.job, paper.manifest
    batch_id = _batch_of(job, batches)
    return _blank(JOBS) | {
        "id": job.id,
        "kind": job.kind,
        "model": job.model,
        "state": _state(job),
        "owner": job.owner,
        "fair_key": batch_id or job.owner,
        "credential": job.credential,
        "batch_id": batch_id,
        "line_number": job.line_number,
        "custom_id": job.custom_id,
        "tags": job.tags,
        "priority": job.priority,
        "input": job.input,
        "body": job.body,
        "body_sha256": job.body_sha256,
        "archive_url": archive_url,
        "archive_class": job.archive_class,
        "price_micros": job.cost.estimate_micros if job.cost else None,
        "price_currency": job.cost.currency if job.cost else None,
        "price_version": job.cost.price_version if job.cost else None,
        "cost_final_micros": job.cost.final_micros if job.cost else None,
        "created_at": job.created_at,
        "not_before": job.not_before,
        "waiting_on_count": 0,
        "provider_task_id": job.provider_task_id,
        "submitted_at": job.submitted_at,
        "finished_at": manifest.written_at,
        "cancel_requested_at": job.cancel_requested_at,
        "submission_count": job.submission_count,
        "poll_count": job.poll_count,
        "attempt_count": 0,
        "ask_count": 0,
        "death_count": 0,
        "sequence": 1,
    }


def _batch_of(job: JobPaper, batches: Mapping[str, str]) -> str | None:
    return batches.get(job.batch_id) if job.batch_id is not None else None


def _state(job: JobPaper) -> State:
    """A job that was cancelled while its paid task ran has its outputs archived, and stays cancelled."""
    target = State.CANCELLED if job.cancel_requested_at is not None else State.SUCCEEDED
    check_transition(None, Trigger.REBUILT, target)
    return target


def _call_row(job: JobPaper, call: SubmissionPaper, batches: Mapping[str, str]) -> Row:
    same = {name: getattr(call, name) for name in _CALL_COLUMNS if hasattr(call, name)}
    fair_key = _batch_of(job, batches) or job.owner
    return _blank(SUBMISSIONS) | same | {"job_id": job.id, "kind": job.kind, "fair_key": fair_key}


def _output_row(paper: Paper, output: OutputPaper) -> Row:
    is_lost = not output.is_archived
    return _blank(OUTPUTS) | {
        "id": output.id,
        "job_id": _id(paper),
        "index": output.index,
        "role": output.role,
        "source_expires_at": output.source_expires_at,
        "is_expiry_assumed": output.is_expiry_assumed,
        "attempt_count": 0,
        "ask_count": 0,
        "dead_links": [],
        "key": output.key,
        "byte_count": output.bytes,
        "sha256": output.sha256,
        "content_type": output.content_type,
        "width": output.width,
        "height": output.height,
        "duration_seconds": output.duration_seconds,
        "codec": output.codec,
        "notes": list(output.notes),
        "created_at": output.announced_at,
        "archived_at": output.archived_at,
        "lost_at": paper.manifest.written_at if is_lost else None,
        **thumbnail_columns(_thumbnail(output)),
    }


def _thumbnail(output: OutputPaper) -> Thumbnail | None:
    paper = output.thumbnail
    return Thumbnail(paper.bytes, paper.sha256, paper.width, paper.height) if paper is not None else None


def _member_row(job: Row) -> Row:
    names = ("batch_id", "line_number", "custom_id")
    return {name: job[name] for name in names} | {"job_id": job["id"], "linked_from": None}


def _enter_dependencies(
    connection: Connection, papers: Sequence[Paper], batches: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """Enter what each job used; return the parents, by (job, name), that are not here yet."""
    wanted = [(paper.manifest.job, parent) for paper in papers for parent in paper.manifest.job.parents]
    known = _find_ids(connection, JOBS, {parent.job_id for _, parent in wanted if parent.job_id is not None})
    rows = [
        {
            "job_id": job.id,
            "parent_name": parent.name,
            "batch_id": _batch_of(job, batches),
            "parent_id": parent.job_id if parent.job_id in known else None,
        }
        for job, parent in wanted
    ]
    insert_many(connection, DEPENDENCIES, rows)
    return {(job.id, p.name): p.job_id for job, p in wanted if p.job_id is not None and p.job_id not in known}


def _event(paper: Paper, actor: str) -> EventDraft:
    manifest = paper.manifest
    hosts = {output.id: output.source_host for output in manifest.outputs if output.source_host}
    data: Row = {
        "manifest": paper.key,
        "written_at": manifest.written_at.isoformat(),
        "tool_version": manifest.tool_version,
        SOURCE_HOSTS: hosts,
    }
    return EventDraft(Trigger.REBUILT, None, _state(manifest.job), actor, REASON, data)


def _blank(table: Table) -> Row:
    """Every column, so that all rows of a statement name the same ones."""
    return {column.name: None for column in table.columns}
