"""The Papers port: all that a manifest says of a job, read at once; and jobs made of manifests (db.rebuilding)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, select, update

from orchestrator.db import rebuilding
from orchestrator.db.batch_sums import BATCHES
from orchestrator.db.dependencies import DEPENDENCIES
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS, EventDraft, append_events
from orchestrator.db.history import read_record
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, read_job, read_output, thumbnail_columns
from orchestrator.domain.decide.archive import SOURCE_HOSTS
from orchestrator.domain.errors import NotFound
from orchestrator.domain.papers import BatchPaper, Filed, ParentPaper
from orchestrator.domain.ports.papers import Paper, Rebuilt
from orchestrator.domain.states import State, Trigger
from orchestrator.domain.thumbnails import Thumbnail


class SqlPapers:
    """Papers over a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load_filed(self, job_id: str) -> Filed:
        """Return all that papers say of one job. Raises NotFound."""
        return self._database.read(lambda c: _load_filed(c, job_id))

    def note_refetched(self, job_id: str, output_ids: Sequence[str], *, actor: str, reason: str) -> None:
        """Note it in the history, whatever state the job is in; its lease stays good."""
        database = self._database

        def work(connection: Connection) -> None:
            numbered = update(JOBS).where(JOBS.c.id == job_id).values(sequence=JOBS.c.sequence + 1)
            row = connection.execute(numbered.returning(JOBS.c.state, JOBS.c.sequence)).first()
            if row is None:
                raise NotFound(f"there is no job {job_id}")
            state, data = State(row.state), {"output_ids": list(output_ids)}
            note = EventDraft(Trigger.OUTPUT_REFETCHED, state, state, actor, reason, data)
            now = database.now(connection)
            append_events(connection, {job_id: [note]}, {job_id: row.sequence}, now=now, rng=database.rng)

        database.write(work)

    def set_thumbnail(self, output_id: str, thumbnail: Thumbnail, *, made_from_sha256: str) -> bool:
        """Write the facts of a thumbnail, unless retention has taken its output away meanwhile."""
        same = (OUTPUTS.c.id == output_id) & (OUTPUTS.c.sha256 == made_from_sha256)
        write = update(OUTPUTS).where(same, OUTPUTS.c.archived_at.is_not(None), OUTPUTS.c.erased_at.is_(None))
        return self._database.write(lambda c: c.execute(write.values(thumbnail_columns(thumbnail))).rowcount == 1)

    def count_jobs(self) -> int:
        """Count the jobs that there are."""
        return self._database.read(lambda c: c.execute(select(func.count()).select_from(JOBS)).scalar_one())

    def rebuild(self, papers: Sequence[Paper], *, archive_url: str, actor: str) -> Rebuilt:
        """Insert what the papers say; what spoils the transaction for all is found out one by one."""
        return rebuilding.rebuild(self._database, papers, archive_url=archive_url, actor=actor)

    def link_parents(self, waiting: Mapping[tuple[str, str], str]) -> int:
        """Enter parents that were made after those that depend on them."""
        return rebuilding.link_parents(self._database, waiting)


def _load_filed(connection: Connection, job_id: str) -> Filed:
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().first()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    outputs = connection.execute(select(OUTPUTS).where(OUTPUTS.c.job_id == job_id)).mappings().all()
    calls = select(SUBMISSIONS).where(SUBMISSIONS.c.job_id == job_id).order_by(SUBMISSIONS.c.number)
    return Filed(
        job=read_job(row, outputs=[read_output(output) for output in outputs]),
        archive_class=row["archive_class"],
        batch=_load_batch(connection, row["batch_id"]),
        submissions=tuple(read_record(call) for call in connection.execute(calls).mappings()),
        parents=_load_parents(connection, job_id),
        hosts=_load_hosts(connection, job_id),
        announced={output["id"]: output["created_at"] for output in outputs},
    )


def _load_batch(connection: Connection, batch_id: str | None) -> BatchPaper | None:
    row = connection.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).mappings().first()
    if row is None:
        return None
    return BatchPaper(
        id=row["id"],
        name=row["name"],
        owner=row["owner"],
        identity_sha256=row["identity_sha256"],
        environment=row["environment"],
        generation=row["generation"],
        line_count=row["line_count"],
        created_at=row["created_at"],
        parent_id=row["parent_id"],
    )


def _load_parents(connection: Connection, job_id: str) -> tuple[ParentPaper, ...]:
    query = select(DEPENDENCIES.c.parent_name, DEPENDENCIES.c.parent_id).where(DEPENDENCIES.c.job_id == job_id)
    rows = connection.execute(query.order_by(DEPENDENCIES.c.parent_name)).all()
    return tuple(ParentPaper(row.parent_name, row.parent_id) for row in rows)


def _load_hosts(connection: Connection, job_id: str) -> dict[str, str]:
    """Events of passes over the outputs say where each came from: of those that began while the job was archiving, or
    of the papers that the job was rebuilt from.
    """
    source = EVENTS.c.from_state
    told = select(EVENTS.c.data).where(EVENTS.c.job_id == job_id, (source == State.ARCHIVING) | source.is_(None))
    found: dict[str, str] = {}
    for data in connection.execute(told.order_by(EVENTS.c.sequence)).scalars():
        found |= data.get(SOURCE_HOSTS, {})
    return found
