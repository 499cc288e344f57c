"""The bodies of webhook events: the objects of the HTTP API as they stand in the transaction that announces them.

Outputs carry no links: they would be dead by the time a late attempt arrives. Who needs one asks for a fresh one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit, urlunsplit

from orchestrator.domain.job import Job
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports.webhooks import BatchEnd
from orchestrator.domain.webhooks import Endpoint
from orchestrator.services.batch_views import batch_object
from orchestrator.services.views import Object, job_object, show_time
from orchestrator.services.webhook_views import endpoint_object


class EventBodies:
    """Implements ports.Render."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds

    def __call__(self, event_type: str, subject: Job | BatchEnd | Endpoint, *, at: datetime, sequence: int) -> str:
        """Return compact JSON: type, time, and the object with its sequence."""
        data = {**self._describe(subject, at), "sequence": sequence}
        body = {"type": event_type, "timestamp": show_time(at), "data": data}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    def _describe(self, subject: Job | BatchEnd | Endpoint, at: datetime) -> Object:
        match subject:
            case Job():
                return job_object(subject, now=at, kinds=self._kinds)
            case BatchEnd():
                return batch_object(subject.batch, subject.counts, subject.costs, unpriced_count=subject.unpriced_count)
            case Endpoint():
                return {**endpoint_object(subject), "url": _without_query(subject.url)}


def _without_query(url: str) -> str:
    """A query often holds a key: it is not told to other endpoints."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))
