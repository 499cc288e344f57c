"""Whose request it is, and whether it was made on a page of ours: every route names the capability it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Form, Header, HTTPException, Request

from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.session import COOKIE, csrf_token, unseal
from orchestrator.domain.access import AccessDenied, Capability, Principal, is_same
from orchestrator.services.access import find_principal


@dataclass(frozen=True)
class Visitor:
    """Whoever is logged in; `csrf` is what their forms carry."""

    caller: Principal
    csrf: str

    def may(self, capability: str) -> bool:
        """As the API decides it; templates name the capability by its word."""
        return self.caller.may(Capability(capability))


class Looks:
    """A visitor who may see this page. Raises AccessDenied (the login page), NotAllowed (403)."""

    def __init__(self, capability: Capability) -> None:
        self.capability = capability

    def __call__(self, request: Request, desk: DeskOf) -> Visitor:
        visitor = identify(request, desk)
        visitor.caller.require(self.capability)
        return visitor


class Acts:
    """A visitor who may do this, and who asked for it on a page of ours: by its Origin and by the token of its forms."""

    def __init__(self, capability: Capability) -> None:
        self.capability = capability

    def __call__(
        self,
        request: Request,
        desk: DeskOf,
        csrf: Annotated[str, Form()] = "",
        x_csrf_token: Annotated[str, Header()] = "",
    ) -> Visitor:
        require_own_origin(request, desk)
        visitor = identify(request, desk)
        if not is_same(visitor.csrf, csrf or x_csrf_token):
            raise HTTPException(403, "this form is not of your session; open the page again and repeat it")
        visitor.caller.require(self.capability)
        return visitor


def identify(request: Request, desk: Desk) -> Visitor:
    """Return who is logged in. Raises AccessDenied for no session, one that is over, and one whose key is no good now."""
    session = unseal(request.cookies.get(COOKIE, ""), desk.server_key, now=desk.app.clock.now())
    caller = find_principal(desk.app.keys, session.key_id) if session is not None else None
    if session is None or caller is None:
        raise AccessDenied
    return Visitor(caller, csrf_token(session, desk.server_key))


def require_own_origin(request: Request, desk: Desk) -> None:
    """Refuse what another site's page sent. Browsers name the origin of every POST; whoever leaves it out is no browser."""
    origin = request.headers.get("origin", "")
    own = {request.headers.get("host", "")}
    if desk.public_url is not None:
        own.add(urlsplit(desk.public_url).netloc)
    given = urlsplit(origin)
    if given.scheme not in ("http", "https") or given.netloc not in own:
        raise HTTPException(403, "this was not asked for on a page of this console")


Reader = Annotated[Visitor, Depends(Looks(Capability.READ))]
Inspector = Annotated[Visitor, Depends(Looks(Capability.INSPECT))]
Administrator = Annotated[Visitor, Depends(Looks(Capability.ADMINISTER))]
Cancelling = Annotated[Visitor, Depends(Acts(Capability.CANCEL))]
Deciding = Annotated[Visitor, Depends(Acts(Capability.DECIDE))]
Administering = Annotated[Visitor, Depends(Acts(Capability.ADMINISTER))]
