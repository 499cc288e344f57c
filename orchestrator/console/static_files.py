"""The files that pages load: ours and htmx, kept in the package. Nothing comes from elsewhere and nothing is built."""

from __future__ import annotations

import hashlib
from importlib import resources

from fastapi import APIRouter, HTTPException, Response

router = APIRouter()

TYPES = {
    "console.css": "text/css; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
FILES = {name: (resources.files("orchestrator.console") / "static" / name).read_bytes() for name in TYPES}
DIGESTS = {name: hashlib.sha256(data).hexdigest()[:12] for name, data in FILES.items()}


def address_of(name: str) -> str:
    """Return a file's address below the console: it changes with its content, so that a browser may keep it."""
    return f"static/{name}?v={DIGESTS[name]}"


@router.get("/static/{name}")
def get_static(name: str) -> Response:
    """Give one of the files. Needs no login: the login page is drawn with them."""
    if name not in FILES:
        raise HTTPException(404, "there is no such file")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(FILES[name], media_type=TYPES[name], headers=headers)
