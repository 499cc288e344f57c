"""Batches, what went wrong in them, and checks of job files."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from orchestrator.api import samples
from orchestrator.api.schemas.base import Page, Reason, like


class BatchRetryRequest(Reason):
    """Which members, and what that may cost."""

    only: Annotated[
        list[str], Field(min_length=1, max_length=20, description="failed, cancelled, or failure codes.")
    ] = ["failed"]  # noqa: RUF012 - pydantic copies it
    may_charge: Annotated[bool, Field(description="Agree to the new charges.")] = False
    max_cost: Annotated[
        Decimal | None,
        Field(ge=0, max_digits=12, decimal_places=6, description="Budget of the new charges; nothing without any."),
    ] = None


class BatchBudgetRequest(Reason):
    """What a batch, and all that try it again, may cost in all."""

    max_cost: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6, description="Charges so far included.")]


class Batch(BaseModel):
    """A file of jobs."""

    model_config = like(samples.batch)

    id: str
    object: str
    name: str
    status: str
    line_count: int
    refused_count: int
    done_count: int
    job_counts: dict[str, int]
    cost: dict[str, JsonValue]
    parent_id: str | None
    created_at: datetime
    cancel_requested_at: datetime | None
    finished_at: datetime | None


class BatchList(Page):
    """Batches, newest first."""

    model_config = like(samples.list_of(samples.batch()))

    data: list[Batch]


class ErrorGroup(BaseModel):
    """Members that ended alike without success."""

    code: str
    provider_code: str | None
    status: str
    count: int
    advice: str | None
    examples: list[str]


class ErrorGroups(BaseModel):
    """Why members of a batch did not succeed, the commonest first."""

    object: str
    data: list[ErrorGroup]


class FaultRow(BaseModel):
    """One thing wrong with an input."""

    line: int | None
    column: int | None
    code: str
    param: str | None
    message: str
    hint: str | None


class Check(BaseModel):
    """What a dry run or a check found; nothing of it is stored."""

    model_config = like(samples.check)

    object: str
    valid: bool
    line_count: int
    known_count: int
    price: str
    currency: str
    unpriced_count: int
    fault_count: int
    faults: list[FaultRow]
    warnings: list[FaultRow]
