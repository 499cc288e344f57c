"""The currency and date of the price table; the prices themselves stand beside the models in kinds/ (zai-api.md 10.2)."""

from __future__ import annotations

from orchestrator.domain.job import Price

TABLE_VERSION = "2026-11"


def usd(micros: int) -> Price:
    """Return a price in micro-dollars from the present table."""
    return Price(micros, "USD", TABLE_VERSION)
