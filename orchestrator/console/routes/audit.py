"""The audit log: who asked for what. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestrator.api.answers import read_cursor
from orchestrator.api.desk import DeskOf
from orchestrator.console.guard import Administrator
from orchestrator.console.pages import Page, show
from orchestrator.services.access_views import audit_object

router = APIRouter()

PAGE_SIZE = 50
LINES = ("curl -H 'Authorization: Bearer KEY' URL/v1/audit_log",)


@router.get("/audit")
def list_entries(
    request: Request, desk: DeskOf, visitor: Administrator, after: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """List what was asked for, newest first."""
    found = desk.app.audit_log.list_entries(limit=PAGE_SIZE + 1, after=read_cursor(after))
    rows = [audit_object(entry) for entry in found[:PAGE_SIZE]]
    values = {"entries": rows, "more": rows[-1]["id"] if len(found) > PAGE_SIZE else None}
    return show(request, Page("audit.html", "Audit log", "audit", LINES, values=values), visitor)
