"""The archives."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.config import Settings
from orchestrator.services.lanes.context import LaneLimits
from orchestrator.storage import StoreOptions, StoreSet
from orchestrator.thumbnails import ThumbnailMaker, find_libraries

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


def make_thumbnails(settings: Settings) -> ThumbnailMaker | None:
    """Return what makes thumbnails, None where none are wanted or nothing that can is installed."""
    is_able = settings.thumbnail_pixels > 0 and find_libraries() is not None
    return ThumbnailMaker(settings.thumbnail_pixels) if is_able else None


def describe_thumbnails(settings: Settings) -> str:
    """Return in words whether thumbnails are made here, and if not, why."""
    if settings.thumbnail_pixels == 0:
        return "none are made: ORCHESTRATOR_THUMBNAIL_PIXELS is 0"
    libraries = find_libraries()
    if libraries is None:
        return "none are made here: pip install 'media-orchestrator[media]' brings what makes them"
    return f"made by {libraries}, no side longer than {settings.thumbnail_pixels} pixels"


def storing_threads(archive_windows: Mapping[str, int]) -> int:
    """Return how many outputs are stored at once: a video has its cover beside it."""
    return OUTPUTS_STORED_PER_JOB * sum(archive_windows.values())
