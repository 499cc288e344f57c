"""A Content-Disposition header that no file name can break out of (RFC 6266)."""

from __future__ import annotations

import re
from urllib.parse import quote

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\"\\/:*?<>|;%\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MAX_NAME = 120


def attachment(file_name: str) -> str:
    """Return the header that makes a browser save under `file_name`, with an ASCII stand-in for old ones."""
    name = UNSAFE.sub("_", file_name).strip(" .")
    name = name[-MAX_NAME:] or "download"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"
