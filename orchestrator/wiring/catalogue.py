"""Every code that a person can meet."""

from __future__ import annotations

from functools import cache

from orchestrator.domain import codes
from orchestrator.domain.advice import Catalogue
from orchestrator.egress import advice as egress_advice
from orchestrator.journal import entries as journal_entries
from orchestrator.services.jobfile import codes as fault_codes
from orchestrator.storage import advice as storage_advice
from orchestrator.thumbnails import advice as thumbnail_advice
from orchestrator.webhooks import advice as webhook_advice
from orchestrator.zai import advice as zai_advice


@cache
def error_catalogue() -> Catalogue:
    """Return every code that a person can meet, with what happens next and what to do; needs no settings."""
    tables = (
        codes.entries,
        fault_codes.entries,
        zai_advice.entries,
        storage_advice.entries,
        egress_advice.entries,
        thumbnail_advice.entries,
        webhook_advice.entries,
        journal_entries,
    )
    return Catalogue(entry for table in tables for entry in table())
