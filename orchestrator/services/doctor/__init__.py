"""`orchestrator doctor`: compares job table, archive, journals and the provider's ledger, and says what does not agree."""

from __future__ import annotations

from orchestrator.services.doctor.examine import Patient, Report, examine
from orchestrator.services.doctor.look import Look
from orchestrator.services.doctor.place import Place

__all__ = ["Look", "Patient", "Place", "Report", "examine"]
