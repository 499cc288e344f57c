"""Where webhooks are kept, as `orchestrator webhooks` opens it: who looks for them is not told of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from orchestrator.cli.prefix import program
from orchestrator.config import Settings
from orchestrator.domain.errors import NotFound
from orchestrator.wiring import App, open_app


@contextmanager
def open_webhooks(settings: Settings) -> Iterator[App]:
    """Open the app. Raises NotFound, with how to add a webhook, where nothing has been done yet."""
    with ExitStack() as stack:
        try:
            app = stack.enter_context(open_app(settings))
        except NotFound as error:
            words = f"there are no webhooks in {settings.data_dir} yet"
            raise NotFound(words, hint=f"{program()} webhooks add URL adds one; {error.hint}") from error
        yield app
