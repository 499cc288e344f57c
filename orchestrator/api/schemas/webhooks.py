"""Webhook endpoints and deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from orchestrator.api import samples
from orchestrator.api.schemas.base import Ask, Page, Reason, Words, like


class EndpointRequest(Ask):
    """A webhook endpoint to add."""

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    events: Annotated[
        list[Annotated[str, Field(max_length=64)]],
        Field(min_length=1, max_length=20, description="What it hears: types, or families such as job.*"),
    ] = ["job.*", "batch.finished"]  # noqa: RUF012 - pydantic copies it
    reason: Words = ""


class EndpointChange(Reason):
    """Whether an endpoint is to take events."""

    enabled: bool


class RotateRequest(Reason):
    """How the secret is changed."""

    overlap_seconds: Annotated[
        int, Field(ge=0, le=30 * 86_400, description="How long the old secret signs beside the new one.")
    ] = 86_400


class ResendRequest(Reason):
    """Which deliveries to send again."""

    since: Annotated[datetime, Field(description="Those given up or cancelled since; with a time zone.")]


class WebhookEndpoint(BaseModel):
    """Where events go. `secret` says whether it has one of its `own` or is signed for with the project's (`default`)."""

    model_config = like(samples.webhook_endpoint)

    id: str
    object: str
    url: str
    events: list[str]
    scope: str
    status: str
    disabled_reason: str | None
    secret: str
    previous_secret_until: datetime | None
    failing_since: datetime | None
    last_success_at: datetime | None
    created_at: datetime
    disabled_at: datetime | None


class NewWebhookEndpoint(WebhookEndpoint):
    """An endpoint as its maker sees it, once: `secret` is the secret, and cannot be shown again."""

    model_config = like(samples.new_webhook_endpoint)


class WebhookEndpointList(Page):
    """Endpoints in the order of their ids."""

    model_config = like(samples.list_of(samples.webhook_endpoint()))

    data: list[WebhookEndpoint]


class DeliveryAttempt(BaseModel):
    """One try of a delivery."""

    number: int
    at: datetime
    duration_ms: int
    status: int | None
    code: str | None
    message: str
    answer_head: str
    next_attempt_at: datetime | None


class WebhookDelivery(BaseModel):
    """An event on its way to an endpoint, with every attempt."""

    model_config = like(samples.webhook_delivery)

    id: str
    object: str
    event_id: str
    type: str
    endpoint_id: str
    url: str
    job_id: str | None
    batch_id: str | None
    status: str
    attempt_count: int
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    attempts: list[DeliveryAttempt]


class WebhookDeliveryList(Page):
    """Deliveries, newest first."""

    model_config = like(samples.list_of(samples.webhook_delivery()))

    data: list[WebhookDelivery]


class Resent(BaseModel):
    """How many deliveries were made due again."""

    object: str
    count: int
