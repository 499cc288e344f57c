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
from threading import BoundedSemaphore, Lock
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
    return ", ".join(map(_describe, _NEEDED))


def _describe(name: str) -> str:
    """Forks bring the same module under another name: no version is known then, and nothing is wrong."""
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} of another name"


def _find_folders() -> list[str]:
    """Return where they are installed: the process looks neither into a user's own packages nor at PYTHONPATH."""
    found = [util.find_spec(module) for module in _NEEDED.values()]
    return sorted({str(Path(spec.origin).absolute().parents[1]) for spec in found if spec and spec.origin})


class ThumbnailMaker:
    """Makes JPEGs of which no side is longer than `pixels`. Many threads may ask."""

    def __init__(self, pixels: int, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._pixels = pixels
        self._deadline = deadline_seconds
        self._places = BoundedSemaphore(AT_ONCE)
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def close(self) -> None:
        """End what runs and begin nothing more: whoever stops this process waits for no decoder."""
        with self._lock:
            self._is_closed = True
            for process in self._running:
                process.kill()

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
        """Files, not pipes, take what it says: the process limits their size itself, and we read no more than that."""
        command = [sys.executable, "-I", str(WORKER), str(path.absolute()), content_type, str(self._pixels)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self._start([*command, *_find_folders()], out, err)
            try:
                code = process.wait(self._deadline)
            except subprocess.TimeoutExpired as error:
                raise Permanent("thumbnail_timeout", f"decoding took longer than {self._deadline:g} s") from error
            finally:
                self._end(process)
            if self._is_closed:
                raise _given_up()
            if code != 0:
                raise Permanent("thumbnail_refused", _last_words(err) or f"its process ended with {code}")
            return _read(out)

    def _start(self, command: list[str], out: BinaryIO, err: BinaryIO) -> subprocess.Popen[bytes]:
        """It gets no environment: keys of ours stand there. Nor the terminal: what is typed there is meant for us."""
        with self._lock:
            if self._is_closed:
                raise _given_up()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={},
                cwd="/",
                start_new_session=True,
            )
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
        process.kill()
        process.wait()

    def _check(self, data: bytes) -> MadeThumbnail:
        try:
            facts = inspect(io.BytesIO(data), len(data))
        except MediaRefused as error:
            raise Permanent("thumbnail_refused", f"what was made is no picture: {error.reason}") from error
        width, height = facts.width or 0, facts.height or 0
        if facts.content_type != THUMBNAIL_TYPE or not 0 < max(width, height) <= self._pixels:
            raise Permanent("thumbnail_refused", f"what was made is {facts.content_type}, {width}x{height}")
        return MadeThumbnail(data, width, height)


def _given_up() -> Transient:
    return Transient("thumbnail_given_up", "this process is being stopped")


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MOST_BYTES)


def _last_words(file: BinaryIO) -> str:
    """Return the last line of what it said, as far as it can be shown: the text is as foreign as the file."""
    lines = _read(file).decode("utf-8", "replace").strip().splitlines()
    return "".join(letter for letter in lines[-1] if letter.isprintable())[:WORDS] if lines else ""
