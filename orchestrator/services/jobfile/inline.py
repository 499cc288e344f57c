"""Inputs written into a request itself: data: URIs, base64 text, and links, judged by their spelling alone."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from orchestrator.domain.errors import Fault
from orchestrator.domain.kind import InputSlot
from orchestrator.domain.media import sniff
from orchestrator.services.jobfile.fields import show
from orchestrator.services.jobfile.paths import MAX_PATH

MAX_INPUT_BYTES = 64 << 20
"""Above the largest documented input (50 MB, zai-api.md 3.2): what is larger is not read to its end."""
MIN_BASE64 = 64  # the smallest whole picture or sound is longer; a path this long without a dot is no file's
UNKNOWN_TYPE = "application/octet-stream"

_LINK = re.compile(r"https?://", re.IGNORECASE)
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[\w.+-]+)*);base64,", re.IGNORECASE | re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")


class InputRefused(Exception):
    """An input that cannot be used; `fault` says why, its param as the kind sees it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def param_of(slot: InputSlot) -> str:
    """Return a slot's path as faults name it."""
    return ".".join(str(step) for step in slot.path)


def is_link(value: str) -> bool:
    """Return True for what means to be an http(s) link."""
    return _LINK.match(value) is not None


def is_inline(value: str, param: str) -> bool:
    """Return True for a data: URI and for base64 text that really holds something; a short one is a path."""
    if value[:5].lower() == "data:" or param.rsplit(".", 1)[-1].endswith("_base64"):
        return True
    if len(value) < MIN_BASE64 or not _BASE64.fullmatch(value):
        return False
    return len(value) > MAX_PATH or sniff(_decode_head(value)) is not None


def _decode_head(value: str) -> bytes:
    return base64.b64decode(value[:MIN_BASE64])


def decode_inline(value: str, param: str) -> bytes:
    """Return the bytes of a data: URI or of base64 text, strictly. Raises InputRefused."""
    start = 0
    if value[:5].lower() == "data:":
        head = _DATA.match(value)
        if not head:
            message = f"{param} is {show(value)}: not a base64 data: URI"
            raise InputRefused(Fault("invalid_base64", param, message, "data:image/png;base64,..."))
        start = head.end()
    if (len(value) - start) // 4 * 3 > MAX_INPUT_BYTES + 2:
        message = f"{param} holds more than {MAX_INPUT_BYTES:,} bytes"
        raise InputRefused(Fault("input_too_large", param, message))
    try:
        return base64.b64decode(value[start:], validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{param} is {show(value)}: not base64 ({error})"
        raise InputRefused(Fault("invalid_base64", param, message)) from error


def check_declared(slot: InputSlot) -> None:
    """A data: URI that says it is something else than what belongs here is refused, whatever its bytes (H16)."""
    head = _DATA.match(slot.value)
    declared = (head.group(1) or "").lower() if head else ""
    is_medium = declared.startswith(f"{slot.medium}/") and "svg" not in declared
    if declared and declared != UNKNOWN_TYPE and not is_medium:
        message = f"{param_of(slot)} says that it is {declared}; {slot.medium} data belongs here"
        raise InputRefused(Fault("unsupported_format", param_of(slot), message))


JudgeLink = Callable[[str], str | None]
"""Says why a link is not one that foreign links may be, None when it may."""


def check_link(value: str, param: str, *, may_be_link: bool, judge: JudgeLink | None = None) -> None:
    """Refuse a link where a file belongs, one that is spelled to deceive, and one that leads inside. Raises
    InputRefused.
    """
    if not may_be_link:
        message = f"{param} is a link; a file belongs here"
        raise InputRefused(Fault("link_refused", param, message, "download it, and name the file"))
    reason = _refuse_link(value)
    if reason:
        raise InputRefused(Fault("invalid_link", param, f"{param} is {show(value)}: {reason}"))
    refusal = judge(value) if judge is not None else None
    if refusal:
        hint = "name the file instead; an operator may list hosts in ORCHESTRATOR_EGRESS_ALLOW"
        raise InputRefused(Fault("link_leads_inside", param, f"{param} is {show(value)}: {refusal}", hint))


def _refuse_link(value: str) -> str | None:
    """Return what is wrong with a link's spelling; whether it can be reached is the provider's to find out."""
    if len(value) > MAX_PATH:
        return f"a link has at most {MAX_PATH} characters"
    if not value.isascii() or not value.isprintable() or set(value) & set(' \\"<>^`{|}'):
        return "a link is plain ASCII without blanks; encode it"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        return str(error)
    if parts.username is not None or parts.password is not None:
        return "a link with a user name or password is not passed on"
    host = parts.netloc.rsplit(":", 1)[0] if not parts.netloc.endswith("]") else parts.netloc
    return None if _HOST.fullmatch(host) else "it names no host"
