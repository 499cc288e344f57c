"""Starts a process for each thumbnail, and believes nothing that comes back: foreign bytes were decoded there.

A decoder that hangs, eats memory or dies takes nothing of ours with it (docs/decisions/0020).
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from threading import BoundedSemaphore
from typing import BinaryIO

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.media import MediaRefused, inspect
from orchestrator.domain.ports.thumbnails import MadeThumbnail
from orchestrator.domain.thumbnails import THUMBNAIL_TYPE

WORKER = Path(__file__).with_name("worker.py")
AT_ONCE = 2
"""Processes of one of ours: the archive's own work, hashing and sending, is not to wait for decoding."""
PATIENCE_SECONDS = 20.0
"""How long a thumbnail waits for its turn before there is none."""
DEADLINE_SECONDS = 20.0
"""An honest picture or film takes a tenth of a second on a quiet machine."""
MOST_BYTES = 1 << 20
WORDS = 200
_NEEDED = {"Pillow": "PIL", "av": "av"}


def find_libraries() -> str | None:
    """Return the names and versions of the libraries that decode, None where the extra `media` is not installed."""
    if any(util.find_spec(module) is None for module in _NEEDED.values()):
        return None
    return ", ".join(f"{name} {metadata.version(name)}" for name in _NEEDED)


class ThumbnailMaker:
    """Makes JPEGs of which no side is longer than `pixels`. Many threads may ask."""

    def __init__(self, pixels: int, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._pixels = pixels
        self._deadline = deadline_seconds
        self._places = BoundedSemaphore(AT_ONCE)

    def make(self, path: Path, content_type: str) -> MadeThumbnail:
        """Decode the file elsewhere, and look at what comes back as at any foreign picture."""
        if not self._places.acquire(timeout=PATIENCE_SECONDS):
            raise Transient("thumbnail_busy", f"others were being made for {PATIENCE_SECONDS:g} s")
        try:
            return self._check(self._run(path, content_type))
        except OSError as error:
            raise Transient("thumbnail_not_begun", f"its process: {error.strerror}") from error
        finally:
            self._places.release()

    def _run(self, path: Path, content_type: str) -> bytes:
        """Files, not pipes, take what it says: the process limits their size itself, and we read no more than that.

        It gets no environment: keys of ours stand there.
        """
        command = [sys.executable, "-I", str(WORKER), str(path.absolute()), content_type, str(self._pixels)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={},
                    cwd="/",
                    timeout=self._deadline,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise Permanent("thumbnail_timeout", f"decoding took longer than {self._deadline:g} s") from error
            if done.returncode != 0:
                raise Permanent("thumbnail_refused", _last_words(err) or f"its process ended with {done.returncode}")
            return _read(out)

    def _check(self, data: bytes) -> MadeThumbnail:
        try:
            facts = inspect(io.BytesIO(data), len(data))
        except MediaRefused as error:
            raise Permanent("thumbnail_refused", f"what was made is no picture: {error.reason}") from error
        width, height = facts.width or 0, facts.height or 0
        if facts.content_type != THUMBNAIL_TYPE or not 0 < max(width, height) <= self._pixels:
            raise Permanent("thumbnail_refused", f"what was made is {facts.content_type}, {width}x{height}")
        return MadeThumbnail(data, width, height)


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MOST_BYTES)


def _last_words(file: BinaryIO) -> str:
    """Return the last line of what it said, as far as it can be shown: the text is as foreign as the file."""
    lines = _read(file).decode("utf-8", "replace").strip().splitlines()
    return "".join(letter for letter in lines[-1] if letter.isprintable())[:WORDS] if lines else ""
