"""Who is calling: any raw key `id.secret` and any signed token that has not expired are good (zai-api.md section 1.3).
The sandbox knows no secrets, so it cannot check a signature; the key `invalid` is refused.
"""

import base64
import binascii
import json
from typing import Any

from orchestrator.sandbox.errors import Refusal


def check_authorization(header: str | None, *, now: float) -> None:
    """Raises the 401 of section 9.4 that the header deserves; `now` in Unix seconds."""
    if not header or not header.strip():
        raise Refusal("1001")
    token = header.strip()
    scheme, _, rest = token.partition(" ")
    if scheme.lower() == "bearer":
        token = rest.strip()
    if not token:
        raise Refusal("1001")
    parts = token.split(".")
    if not all(parts) or len(parts) not in (2, 3):
        raise Refusal("1002")
    if len(parts) == 3:
        _check_token(parts[0], parts[1], now=now)


def _check_token(header: str, payload: str, *, now: float) -> None:
    try:
        head, claims = _decode(header), _decode(payload)
    except ValueError as error:
        raise Refusal("1002") from error
    expires = claims.get("exp")
    if head.get("alg") != "HS256" or not claims.get("api_key") or not isinstance(expires, (int, float)):
        raise Refusal("1004")
    if expires <= now * 1000:  # milliseconds: a token that counts in seconds expired in 1970
        raise Refusal("1003")


def _decode(part: str) -> dict[str, Any]:
    try:
        document = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not base64 JSON") from error
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of complaint for one kind of bad token
    return document
