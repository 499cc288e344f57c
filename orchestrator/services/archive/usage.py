"""What the archive holds, by the job table, and how much room there is where its files lie."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.domain.ports.retention import KeptSum
from orchestrator.services.views import Object

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def kept_object(kept: KeptSum) -> Object:
    """Return the sum of one archive and kind."""
    return {
        "object": "archive_usage",
        "archive": kept.archive_url,
        "kind": kept.kind,
        "jobs": kept.job_count,
        "files": kept.file_count,
        "bytes": kept.byte_count,
    }


def iter_disks(folders: Sequence[tuple[str, Path]]) -> Iterator[Object]:
    """Yield the room on the disk of each folder that exists, in bytes."""
    for what, folder in folders:
        if folder.is_dir():
            usage = shutil.disk_usage(folder)
            yield {"object": "disk", "what": what, "path": str(folder), "free": usage.free, "total": usage.total}


def show_bytes(count: int) -> str:
    """Return a size for eyes: `12.3 MiB`."""
    size, unit = float(count), _UNITS[0]
    for larger in _UNITS[1:]:
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} bytes" if unit == _UNITS[0] else f"{size:.1f} {unit}"
