"""Uploaded inputs in the database: what requests name by an id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, RowMapping, insert, select

from orchestrator.db.access import append_audit
from orchestrator.db.engine import Database
from orchestrator.db.rows import table_of
from orchestrator.db.tables import FileRow
from orchestrator.domain.access import AuditEntry
from orchestrator.domain.kind import InputFacts
from orchestrator.domain.ports import Upload

FILES = table_of(FileRow)


class SqlUploads:
    """The Uploads port. Raises Transient("database_unavailable") when the database cannot be reached."""

    def __init__(self, database: Database, *, rng: Random) -> None:
        self._database = replace(database, rng=rng)

    def add(self, make: Callable[[datetime], Upload], *, actor: str) -> Upload:
        database = self._database

        def work(connection: Connection) -> Upload:
            now = database.now(connection)
            upload = make(now)
            connection.execute(insert(FILES).values(_row(upload)))
            entry = AuditEntry(actor, "file.create", upload.id, upload.owner)
            append_audit(connection, entry, now=now, rng=database.rng)
            return upload

        return database.write(work)

    def find(self, upload_id: str, *, owner: str) -> Upload | None:
        query = select(FILES).where(FILES.c.id == upload_id, FILES.c.owner == owner)
        row = self._database.read(lambda c: c.execute(query).mappings().first())
        return None if row is None else _read(row)


def _row(upload: Upload) -> dict[str, object]:
    facts = upload.facts
    return {
        "id": upload.id,
        "owner": upload.owner,
        "name": upload.name,
        "sha256": upload.sha256,
        "byte_count": facts.byte_count,
        "content_type": facts.content_type,
        "width": facts.width,
        "height": facts.height,
        "duration_seconds": facts.duration_seconds,
        "archive_url": upload.archive_url,
        "created_at": upload.created_at,
    }


def _read(row: RowMapping) -> Upload:
    facts = InputFacts(row["byte_count"], row["content_type"], row["width"], row["height"], row["duration_seconds"])
    return Upload(
        id=row["id"],
        owner=row["owner"],
        name=row["name"],
        sha256=row["sha256"],
        facts=facts,
        archive_url=row["archive_url"],
        created_at=row["created_at"],
    )
