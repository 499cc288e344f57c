"""What the shapes have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.services.views import Object

Words = Annotated[str, Field(max_length=1000, description="Why, in your words; kept in the history and the audit log.")]


def like(make: Callable[[], Object] | Object) -> ConfigDict:
    """Return the configuration of an answer with this sample; what later versions add is allowed."""
    example: Any = make() if callable(make) else make
    return ConfigDict(json_schema_extra={"examples": [example]}, extra="allow")


class Ask(BaseModel):
    """What callers send: an unknown field is a mistake of theirs, not something to be passed over."""

    model_config = ConfigDict(extra="forbid")


class Reason(Ask):
    """Why something is asked for."""

    reason: Words = ""


class Page(BaseModel):
    """A page of a list."""

    object: str
    has_more: bool
    first_id: str | None
    last_id: str | None
