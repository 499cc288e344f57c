"""The ASGI application: which path goes where, who may call, and how refusals and lost callers are handled."""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.control import control
from orchestrator.sandbox.errors import Refusal
from orchestrator.sandbox.files import serve_file
from orchestrator.sandbox.links import FILES
from orchestrator.sandbox.results import read_result
from orchestrator.sandbox.studio import Studio
from orchestrator.sandbox.submissions import check_caller, make_image, submit_image, submit_video
from orchestrator.sandbox.transcriptions import transcribe
from orchestrator.sandbox.wire import Call, Gone
from orchestrator.sandbox.world import World

API = "/api/paas/v4"
CONTROL = "/_sandbox"
Handler = Callable[[Call, World], Awaitable[None]]


class App:
    """Serves one world."""

    def __init__(self, world: World, studio: Studio) -> None:
        self.world = world
        self.studio = studio
        self._posts: dict[str, Handler] = {
            "/videos/generations": submit_video,
            "/async/images/generations": submit_image,
            "/images/generations": make_image,
            "/audio/transcriptions": lambda call, world: transcribe(call, world, studio),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A base address with a slash at its end doubles the slash (zai-api.md section 12.5, item 1).
        path = re.sub("/{2,}", "/", scope["path"]).rstrip("/") or "/"
        call = Call(scope, receive, send, path, path.removeprefix(API) if path.startswith(API + "/") else "")
        try:
            await self._serve(call)
        except Refusal as refusal:
            self.world.refused[refusal.code] += 1
            await call.refuse(refusal, retry_after=self.world.settings.behaviour.retry_after_seconds)
        except (Gone, ClientDisconnect):
            return

    async def _serve(self, call: Call) -> None:
        if call.path.startswith(CONTROL + "/"):
            await control(call, self.world, self.studio, call.path.removeprefix(CONTROL))
            return
        self.world.requests[f"{call.method} {_counted(call)}"] += 1
        if call.path.startswith(FILES + "/") and call.method in ("GET", "HEAD"):
            await serve_file(call, self.world, self.studio)
        elif call.api_path.startswith("/async-result/") and call.method == "GET":
            check_caller(call, self.world)
            await read_result(call, self.world)
        elif call.method == "POST" and (handler := self._posts.get(call.api_path)):
            await handler(call, self.world)
        else:
            raise Refusal("1222", status=404)


def _counted(call: Call) -> str:
    """The path as stats name it: without what differs from call to call."""
    if call.api_path.startswith("/async-result/"):
        return "/async-result/{id}"
    return FILES if call.path.startswith(FILES + "/") else call.api_path or call.path
