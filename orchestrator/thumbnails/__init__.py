"""Makes thumbnails with Pillow and PyAV, the extra `media`; in processes of their own, since what they decode is foreign."""

from orchestrator.thumbnails.maker import ThumbnailMaker, find_libraries

__all__ = ["ThumbnailMaker", "find_libraries"]
