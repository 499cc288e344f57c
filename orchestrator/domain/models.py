"""Models as an operator sees and steers them: what is in flight, what may be, and what is paused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

DEFAULT_CREDENTIAL = "default"
BY_HAND = "paused_by_hand"
"""Code of a pause that a person made."""
UNTIL_RESUMED = datetime(9999, 1, 1, tzinfo=UTC)
"""End of such a pause: only a person ends it."""


@dataclass(frozen=True)
class ModelState:
    """How a model stands under one credential. `slot_limit` None: the settings' limit holds."""

    credential: str
    model: str
    slot_limit: int | None = None
    held_count: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    """Active jobs per state."""
    submit_paused_until: datetime | None = None
    submit_pause_code: str | None = None
    submit_pause_message: str | None = None
    poll_paused_until: datetime | None = None

    @property
    def is_paused_by_hand(self) -> bool:
        """A person paused it."""
        return self.submit_paused_until is not None and self.submit_paused_until >= UNTIL_RESUMED


class Models(Protocol):
    """What is written under the lock that submit claims count slots under: the next claim, of any process, holds to it."""

    def list_models(self, credential: str, *, is_held_until_final: bool) -> Sequence[ModelState]:
        """Return every model that has active jobs, slots in use, a limit of its own or a pause, by name."""

    def has_jobs(self, credential: str, model: str) -> bool:
        """Say whether any job was ever made for it."""

    def set_limit(self, credential: str, model: str, limit: int | None) -> None:
        """Set a model's own limit of slots; None: the settings' limit holds again. What is in flight goes on."""

    def pause(self, credential: str, model: str, *, message: str) -> None:
        """Submit nothing more for a model until it is resumed, whatever the provider answers meanwhile."""

    def resume(self, credential: str, model: str) -> bool:
        """End the pause on submitting for a model, whoever made it; False when there was none."""
