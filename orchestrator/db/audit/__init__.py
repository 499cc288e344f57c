"""The Audit port over a database: every rule as a condition of one statement, read in spans of a table's primary key."""

from __future__ import annotations

from orchestrator.db.audit.audit import SqlAudit

__all__ = ["SqlAudit"]
