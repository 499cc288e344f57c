"""Whose request it is: every route names the capability that it needs, or says that it is open to all."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.api.desk import DeskOf
from orchestrator.domain.access import AccessDenied, Capability, Principal
from orchestrator.services.access import prove, split_key

BEARER = HTTPBearer(auto_error=False, bearerFormat="ok_<id>_<secret>", description="A key made by `keys create`.")


class Needs:
    """The caller, known to be allowed what the route does. Raises AccessDenied (401), NotAllowed (403)."""

    def __init__(self, capability: Capability) -> None:
        self.capability = capability

    async def __call__(
        self, desk: DeskOf, given: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
    ) -> Principal:
        if given is None:
            raise AccessDenied
        key_id, secret = split_key(given.credentials)
        key, now = await desk.find_key(key_id)
        caller = prove(key, now, key_id, secret, server_key=desk.server_key)
        caller.require(self.capability)
        return caller


Creator = Annotated[Principal, Depends(Needs(Capability.CREATE))]
Reader = Annotated[Principal, Depends(Needs(Capability.READ))]
Canceller = Annotated[Principal, Depends(Needs(Capability.CANCEL))]
Inspector = Annotated[Principal, Depends(Needs(Capability.INSPECT))]
Decider = Annotated[Principal, Depends(Needs(Capability.DECIDE))]
Subscriber = Annotated[Principal, Depends(Needs(Capability.SUBSCRIBE))]
Steerer = Annotated[Principal, Depends(Needs(Capability.STEER))]
Measurer = Annotated[Principal, Depends(Needs(Capability.MEASURE))]
Administrator = Annotated[Principal, Depends(Needs(Capability.ADMINISTER))]
