"""Models and usage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from orchestrator.api import samples
from orchestrator.api.schemas.base import Page, Reason, like


class Model(BaseModel):
    """A model, its limit, how much of it is used, and its price. `paused_until` null while paused: until it is resumed.

    `queued`, `processing` and `archiving` are for keys that see every owner, null for others.
    """

    model_config = like(samples.model)

    id: str
    object: str
    kind: str | None
    model: str
    credential: str
    limit: int
    limit_from: str
    in_use: int
    queued: int | None
    processing: int | None
    archiving: int | None
    is_paused: bool
    paused_until: datetime | None
    pause_code: str | None
    pause_message: str | None
    is_default: bool
    price: str | None
    currency: str | None
    price_version: str | None


class ModelLimit(Reason):
    """How many requests of a model may be in flight."""

    limit: Annotated[int | None, Field(ge=1, le=100_000, description="null: as the settings say again.")]


class ModelList(Page):
    """Every model that we know, and those that were used."""

    model_config = like(samples.list_of(samples.model()))

    data: list[Model]


class UsageCost(BaseModel):
    """Money of a group. `unknown_count` charges nobody can know."""

    currency: str | None
    estimate: str
    final: str
    unknown_count: int


class UsageRow(BaseModel):
    """What the jobs of one group, priced in one currency, came to. `bytes` and `seconds` are of archived outputs."""

    model_config = like(samples.usage)

    object: str
    by: str | None
    group: str | None
    jobs: int
    succeeded: int
    failed: int
    cancelled: int
    needs_review: int
    active: int
    submissions: int
    cost: UsageCost
    outputs: int
    bytes: int
    seconds: float


class UsageList(BaseModel):
    """Usage, a row per group and currency."""

    object: str
    data: list[UsageRow]
