"""The tasks that a worker takes from the broker: one a lane, no arguments, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.ports import LaneName

if TYPE_CHECKING:
    from celery import Celery

    from orchestrator.services.lanes.host import LaneHost


def name_of(lane: LaneName) -> str:
    """Return the name under which Celery knows a lane's task."""
    return f"orchestrator.{lane}"


def register(app: Celery, host: LaneHost) -> None:
    """Give the application the five tasks; each drains its lane in `host`, or wakes the drain that runs there."""

    @app.task(name=name_of(LaneName.SUBMIT))
    def submit() -> None:
        host.drain(LaneName.SUBMIT)

    @app.task(name=name_of(LaneName.POLL))
    def poll() -> None:
        host.drain(LaneName.POLL)

    @app.task(name=name_of(LaneName.ARCHIVE))
    def archive() -> None:
        host.drain(LaneName.ARCHIVE)

    @app.task(name=name_of(LaneName.DELIVER))
    def deliver() -> None:
        host.drain(LaneName.DELIVER)

    @app.task(name=name_of(LaneName.SWEEP))
    def sweep() -> None:
        host.drain(LaneName.SWEEP)
