"""Keys and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from orchestrator.api import samples
from orchestrator.api.schemas.base import Ask, Page, Words, like
from orchestrator.domain.access import Role


class KeyRequest(Ask):
    """A key to make."""

    name: Annotated[str, Field(max_length=64)]
    role: Role
    owner: Annotated[str | None, Field(max_length=64, description="Whose things it sees; its name when left out.")] = (
        None
    )
    expires_in_seconds: Annotated[int | None, Field(ge=1, le=10 * 366 * 86_400)] = None
    reason: Words = ""


class Key(BaseModel):
    """A key, without its secret."""

    model_config = like(samples.key)

    id: str
    object: str
    name: str
    role: str
    owner: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key):
    """A key as its maker sees it, once: `key` cannot be shown again."""

    model_config = like(samples.new_key)

    key: str


class KeyList(Page):
    """Keys, revoked ones included."""

    model_config = like(samples.list_of(samples.key()))

    data: list[Key]


class AuditEntry(BaseModel):
    """A mutation that somebody asked for."""

    model_config = like(samples.audit_entry)

    id: str
    object: str
    at: datetime
    actor: str
    action: str
    subject: str
    owner: str
    reason: str
    count: int


class AuditList(Page):
    """The audit log, newest first."""

    model_config = like(samples.list_of(samples.audit_entry()))

    data: list[AuditEntry]
