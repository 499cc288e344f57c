"""Errors, the catalogue of their codes, and health."""

from __future__ import annotations

from pydantic import BaseModel

from orchestrator.api import samples
from orchestrator.api.schemas.base import like
from orchestrator.api.schemas.batches import FaultRow


class ErrorCode(BaseModel):
    """A row of the error catalogue."""

    model_config = like(samples.error_code)

    code: str
    object: str
    source: str
    then: str
    meaning: str
    advice: str


class ErrorCodeList(BaseModel):
    """The error catalogue."""

    object: str
    data: list[ErrorCode]


class Health(BaseModel):
    """Whether the process, or what it needs, is well."""

    status: str
    checks: dict[str, str] = {}


class ErrorDetail(BaseModel):
    """What went wrong. `errors` lists every fault when there are several."""

    code: str
    message: str
    param: str | None
    type: str
    request_id: str
    hint: str | None = None
    errors: list[FaultRow] = []


class ErrorBody(BaseModel):
    """The body of every error."""

    model_config = like(samples.failure)

    error: ErrorDetail
