"""The lanes' tools for commands about the archive: they pay for nothing, so they work without a key of the provider too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from pydantic import SecretStr

from orchestrator.cli.sandbox import SANDBOX_KEY, sandboxed
from orchestrator.config import Settings
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.wiring import App, open_app, open_lanes


@dataclass(frozen=True)
class Workshop:
    """An open job table with what fetches and stores, on a loop. `may_ask`: there is a key to ask the provider with."""

    app: App
    context: LaneContext
    loop: LoopThread
    may_ask: bool


@contextmanager
def open_workshop(settings: Settings, *, sandbox: bool) -> Iterator[Workshop]:
    """Open it; with `sandbox` the simulator runs meanwhile."""
    with ExitStack() as stack:
        if sandbox:
            settings = stack.enter_context(sandboxed(settings))
        app = stack.enter_context(open_app(settings))
        may_ask = settings.zai_api_key is not None
        if not may_ask:  # the clients want one; none is ever shown to anybody
            settings = settings.model_copy(update={"zai_api_key": SecretStr(SANDBOX_KEY)})
        context = stack.enter_context(open_lanes(replace(app, settings=settings), Mailboxes()))
        loop = LoopThread()
        stack.callback(loop.close)
        stack.callback(lambda: loop.submit(context.close()).result())
        yield Workshop(app, context, loop, may_ask)


class Stopping:
    """Leads signals to a stop."""

    def __init__(self) -> None:
        self.stop = Stop()

    def request_stop(self) -> None:
        """Begin nothing more."""
        self.stop.request()

    def abort(self) -> None:
        """Give up what is under way too: it is fetched again another time."""
        self.stop.abort()
