"""Makes job files, their inputs and everything that taking them needs."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import cast

from orchestrator.domain.errors import Fault
from orchestrator.domain.kind import Kind
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckedFile, CheckOptions, check_file
from orchestrator.zai.kinds import load_kinds
from tests.services.intake.fakes import FakeBatches, FakeStore, FixedClock

KINDS = cast("Mapping[str, Kind]", load_kinds())
SANDBOX = CheckOptions("sandbox")


def image(custom_id: str = "a", **fields: object) -> dict[str, object]:
    """A good line: a picture."""
    body = {"model": "glm-image", "prompt": "a red kite", "size": "1280x1280"}
    return {"custom_id": custom_id, "method": "POST", "kind": "image", "body": body, **fields}


def video(custom_id: str = "v", **body: object) -> dict[str, object]:
    """A good line: a video."""
    whole = {"model": "cogvideox-3", "prompt": "a red kite", **body}
    return {"custom_id": custom_id, "url": "/v1/videos/generations", "body": whole}


def talk(custom_id: str = "t", file: str = "talk.wav") -> dict[str, object]:
    """A line that names a recording."""
    return {"custom_id": custom_id, "kind": "transcription", "body": {"model": "glm-asr-2512", "file": file}}


def wav(seconds: float = 1.0, *, rate: int = 8000, value: int = 0) -> bytes:
    """A whole WAV file of silence, or of one value."""
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(struct.pack("<h", value) * int(rate * seconds))
    return target.getvalue()


def png(width: int = 64, height: int = 64) -> bytes:
    """A whole PNG of one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress((b"\0" + b"\x30\x60\x90" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def data_uri(data: bytes, content_type: str = "image/png") -> str:
    """The bytes as a data: URI."""
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


@dataclass
class Desk:
    """One folder with a job file, and a database and an archive to take it into."""

    folder: Path
    batches: FakeBatches = field(default_factory=FakeBatches)
    store: FakeStore = field(default_factory=FakeStore)
    clock: FixedClock = field(default_factory=FixedClock)
    rng: Random = field(default_factory=lambda: Random(7))

    @property
    def taker(self) -> Taker:
        return Taker(self.batches, self.store, self.clock, self.rng, self.folder.parent / "spool")

    @property
    def inputs(self) -> dict[str, bytes]:
        """What the archive holds of files that requests name."""
        return {key: data for key, data in self.store.objects.items() if key.startswith("inputs/")}

    def write(self, lines: Sequence[object] | bytes, name: str = "jobs.jsonl") -> Path:
        """Write a job file: objects one a line, text as it stands, or raw bytes."""
        path = self.folder / name
        if isinstance(lines, bytes):
            path.write_bytes(lines)
        else:
            text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
        return path

    def add(self, name: str, data: bytes) -> Path:
        """Put an input beside the job file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def check(self, lines: Sequence[object] | bytes, *, options: CheckOptions = SANDBOX) -> CheckedFile:
        """Write and check a job file."""
        return check_file(self.write(lines), KINDS, options=options)


def codes(faults: Sequence[Fault]) -> list[tuple[int | None, int | None, str, str | None]]:
    """What a table of faults is compared by."""
    return [(fault.line, fault.column, fault.code, fault.param) for fault in faults]
