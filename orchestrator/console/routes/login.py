"""Logging in by a key, and out again."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.attempts import LoginAttempts
from orchestrator.console.guard import identify, require_own_origin
from orchestrator.console.pages import Page, base_of, headers_of, show
from orchestrator.console.session import COOKIE, LIFE, begin_session, seal
from orchestrator.domain.access import AccessDenied, is_same
from orchestrator.services.access import prove, split_key

router = APIRouter()

_INSIDE = re.compile(r"/[A-Za-z0-9_./-]*(?:\?[^\s\\]*)?", re.ASCII)
REFUSED = "This key is not good: it is unknown, revoked or expired."
TOO_MANY = (
    "Too many wrong keys in the last minute, and this is one more. Try again in {seconds} s; a good key works at once."
)


@router.get("/login")
def ask(request: Request, next: Annotated[str, Query(max_length=3000)] = "") -> Response:  # noqa: A002 - as links say it
    """Show the form."""
    return _form(request, next)


@router.post("/login")
async def log_in(
    request: Request,
    desk: DeskOf,
    key: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=3000)] = "",  # noqa: A002
) -> Response:
    """Set the session's cookie. The key is looked at and forgotten.

    Where there were too many wrong ones it is looked at all the same: else anybody could keep everybody out. What
    strangers cause is bounded by looking keys up together.
    """
    require_own_origin(request, desk)
    attempts: LoginAttempts = request.app.state.login_attempts
    address = request.client.host if request.client is not None else ""
    seconds = attempts.begin(address)
    try:
        key_id, secret = split_key(key.strip())
        found, now = await desk.find_key(key_id)
        caller = prove(found, now, key_id, secret, server_key=desk.server_key)
    except AccessDenied:
        if seconds is None:
            return _form(request, next, problem=REFUSED, status=401)
        answer = _form(request, next, problem=TOO_MANY.format(seconds=seconds), status=429)
        answer.headers["Retry-After"] = str(seconds)
        return answer
    attempts.forget(address)
    session = begin_session(caller.key_id, now=desk.app.clock.now(), rng=desk.app.rng)
    inside = _go(_inside(request, next))
    inside.set_cookie(
        COOKIE,
        seal(session, desk.server_key),
        max_age=int(LIFE.total_seconds()),
        path=base_of(request),
        secure=_is_secure(request, desk),
        httponly=True,
        samesite="strict",
    )
    return inside


@router.post("/logout")
def log_out(request: Request, desk: DeskOf, csrf: Annotated[str, Form()] = "") -> Response:
    """Take the cookie away. Another site cannot do that to anybody."""
    require_own_origin(request, desk)
    if not is_same(identify(request, desk).csrf, csrf):
        return _go(f"{base_of(request)}/")
    answer = _go(f"{base_of(request)}/login")
    answer.delete_cookie(COOKIE, path=base_of(request), httponly=True, samesite="strict")
    return answer


def _form(request: Request, wanted: str, *, problem: str | None = None, status: int = 200) -> Response:
    values = {"next": wanted, "problem": problem}
    return show(request, Page("login.html", "Log in", status=status, values=values))


def _go(address: str) -> RedirectResponse:
    return RedirectResponse(address, status_code=303, headers=headers_of())


def _inside(request: Request, wanted: str) -> str:
    """Return where to go on: a page of the console and nowhere else."""
    base = base_of(request)
    is_ours = wanted.startswith(f"{base}/") and _INSIDE.fullmatch(wanted) and "//" not in wanted.partition("?")[0]
    return wanted if is_ours else f"{base}/"


def _is_secure(request: Request, desk: Desk) -> bool:
    """Behind a proxy that ends TLS, PUBLIC_URL is what says so."""
    return request.url.scheme == "https" or (desk.public_url or "").startswith("https:")
