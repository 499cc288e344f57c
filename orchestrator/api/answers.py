"""What routes say of their answers: in the OpenAPI document, and as lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from orchestrator.api.schemas import ErrorBody
from orchestrator.domain.errors import RequestError
from orchestrator.services.views import Object

Responses = dict[int | str, dict[str, Any]]
ALWAYS = (401, 403, 422, 500, 503)
"""What every route behind a key may answer."""
WORDS = {
    400: "What was asked for cannot be read, such as a query or a cursor.",
    401: "No key, or none that is good.",
    402: "It would cost more than was allowed.",
    403: "The role of the key does not allow it.",
    404: "There is no such thing, or it belongs to another owner.",
    408: "The body did not come in time.",
    409: "The state of the thing forbids it.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken here.",
    422: "One or more fields are wrong; `errors` names each.",
    500: "A fault of ours.",
    503: "The database or the archive is away; try again after `Retry-After` seconds.",
}
_CURSOR = re.compile(r"[a-z]*_?[0-9a-f]{16,32}", re.ASCII)

Limit = Annotated[int, Query(ge=1, le=100, description="Most things in one answer.")]
After = Annotated[str | None, Query(description="Go on behind the thing with this id: `last_id` of the last page.")]


def answers(model: type[BaseModel] | None, *errors: int, status: int = 200, words: str = "Done.") -> Responses:
    """Return the `responses` of a route behind a key."""
    good: dict[str, Any] = {"description": words}
    if model is not None:
        good["model"] = model
    return {status: good, **failures(*errors, *ALWAYS)}


def failures(*statuses: int) -> Responses:
    """Return the error answers of a route."""
    return {status: {"model": ErrorBody, "description": WORDS[status]} for status in sorted(set(statuses))}


def read_cursor(after: str | None) -> str | None:
    """Return the id to go on behind. Raises RequestError (400) for what is none (row I4)."""
    if after is not None and not _CURSOR.fullmatch(after):
        raise RequestError("after is not an id that a list has given", param="after")
    return after


def list_of(rows: Sequence[Object], *, limit: int) -> JSONResponse:
    """Answer a page; `rows` has one more than `limit` when there is another."""
    page = rows[:limit]
    return JSONResponse(
        {
            "object": "list",
            "data": page,
            "has_more": len(rows) > limit,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }
    )
