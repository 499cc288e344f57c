"""Archives: an S3-compatible bucket or a local directory behind one port. The only place that knows boto3."""

from __future__ import annotations

from orchestrator.storage.open import StoreSet, open_store
from orchestrator.storage.options import StoreOptions

__all__ = ["StoreOptions", "StoreSet", "open_store"]
