"""What is said when a batch is recorded and this command ends: who will work on it."""

from __future__ import annotations

from orchestrator.cli.fleet import require_broker, waking
from orchestrator.cli.prefix import command
from orchestrator.cli.sandbox import ENVIRONMENT
from orchestrator.domain.job import Batch
from orchestrator.domain.ports import LaneName
from orchestrator.wiring import App


def leave(app: App, batch: Batch) -> str:
    """Say who takes it from here: the workers, who are told, or a command that can be pasted anywhere."""
    if app.settings.broker_url is None or batch.environment == ENVIRONMENT:
        return f"run it with: {run_command(batch)}"
    with waking(require_broker(app.settings), clock=app.clock) as wakeup:
        wakeup.wake(LaneName.SUBMIT)
    return f"the workers take it from here. Watch it with: {command('batches watch', batch.id)}"


def run_command(batch: Batch) -> str:
    """Return the command that runs a recorded batch in one process."""
    return command("batches run", batch.id)
