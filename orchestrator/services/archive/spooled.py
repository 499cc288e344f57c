"""A copy of an output in a file of this run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.ports import Store


@dataclass(frozen=True)
class Spooled:
    """An output's bytes in a file of this run, hashed while they were written: a file of an earlier run never is."""

    path: Path
    byte_count: int
    sha256: str


def copy_back(store: Store, key: str, path: Path) -> Spooled:
    """Copy an object from the archive to `path`. Raises StepErrors of the store."""
    digest, count = hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as copy:
        for chunk in store.read_chunks(key):
            digest.update(chunk)
            count += copy.write(chunk)
    return Spooled(path, count, digest.hexdigest())
