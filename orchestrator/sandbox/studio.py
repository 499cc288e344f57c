"""Makes the files behind links, off the event loop, once for all who ask at the same time, and keeps the latest in
memory within a fixed size. The same task always gives the same bytes, so nothing is lost when they are dropped.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from orchestrator.sandbox.films import LOOKS, Film, make_film
from orchestrator.sandbox.links import Target, file_path
from orchestrator.sandbox.pictures_out import as_jpeg, as_png, draw
from orchestrator.sandbox.store import Task

T = TypeVar("T")
CACHE_BYTES = 96 * 1024 * 1024
THREADS = 2
WATERMARK = "made by AI (sandbox)"


@dataclass(frozen=True)
class Media:
    """A finished file."""

    data: bytes
    content_type: str
    etag: str


class Studio:
    """The threads and the memory of what they made."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sandbox-media")
        self._kept: OrderedDict[str, Media] = OrderedDict()
        self._size = 0
        self._making: dict[str, asyncio.Task[Media]] = {}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """Drops every file."""
        self._kept.clear()
        self._size = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Does other slow work on the same threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def media(self, target: Target) -> Media:
        """The file a link points to; it goes on being made when its first caller leaves."""
        path = file_path(target.task, target.role)
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        if path not in self._making:
            self._making[path] = asyncio.create_task(self._make(path, target))
            self._making[path].add_done_callback(lambda _: self._making.pop(path, None))
        return await asyncio.shield(self._making[path])

    async def _make(self, path: str, target: Target) -> Media:
        media = await self.run(lambda: make_media(target.task, target.role))
        self._kept[path] = media
        self._size += len(media.data)
        while self._size > CACHE_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1].data)
        return media


def make_media(task: Task, role: str) -> Media:
    """The file of the task for the role: video, cover or image."""
    if role == "video":
        return _media(make_film(_film(task)), "video/mp4")
    shot = task.picture
    mark = WATERMARK if shot.has_watermark else ""
    # A cover has the colours of its film.
    key = f"film {_look(task)}" if role == "cover" else task.file_key
    picture = draw(shot.width, shot.height, key=key, words=task.prompt, mark=mark)
    if file_path(task, role).endswith(".png"):
        return _media(as_png(picture), "image/png")
    return _media(as_jpeg(picture), "image/jpeg")


def _film(task: Task) -> Film:
    shot = task.picture
    return Film(shot.width, shot.height, shot.seconds, shot.fps, shot.has_audio, _look(task), task.file_key)


def _look(task: Task) -> int:
    return int(task.file_key[:2], 16) % LOOKS


def _media(data: bytes, content_type: str) -> Media:
    return Media(data, content_type, f'"{sha256(data).hexdigest()[:32]}"')
