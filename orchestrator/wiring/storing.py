"""The archives."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.config import Settings
from orchestrator.services.lanes.context import LaneLimits
from orchestrator.storage import StoreOptions, StoreSet

OUTPUTS_STORED_PER_JOB = 2


def make_stores(settings: Settings) -> StoreSet:
    """Return the archives by their URLs; each is opened on first use."""
    options = StoreOptions(
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        use_instance_role=settings.s3_use_instance_role,
        ca_bundle=settings.ca_bundle,
        max_connections=storing_threads({**LaneLimits().archive_windows, **settings.archive_concurrency}),
    )
    return StoreSet(options)


def storing_threads(archive_windows: Mapping[str, int]) -> int:
    """Return how many outputs are stored at once: a video has its cover beside it."""
    return OUTPUTS_STORED_PER_JOB * sum(archive_windows.values())
