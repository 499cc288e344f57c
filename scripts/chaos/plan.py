"""What one round of chaos does, all of it chosen by its seed but for how fast the machine is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

IMAGE = {"kind": "image", "body": {"model": "cogview-4-250304", "size": "512x512"}}
OTHER_IMAGE = {"kind": "image", "body": {"model": "glm-image", "size": "1024x1024"}}
VIDEO = {"kind": "video", "body": {"model": "viduq1-text"}}

FAULTS: tuple[dict[str, object], ...] = (
    {"fault": "hang", "phase": "submit", "probability": 0.1, "seconds": 0.4},  # time to die between sending and answer
    {"fault": "rate_limit", "phase": "submit", "probability": 0.02},
    {"fault": "server_error", "phase": "poll", "probability": 0.05},
    {"fault": "lost_answer", "phase": "submit", "probability": 0.01},
    {"fault": "dead_link", "probability": 0.02},
    {"fault": "truncated", "probability": 0.02},
)
"""What the provider does meanwhile."""


@dataclass(frozen=True)
class Plan:
    """One round. Times are seconds; `kill_every`, `flush_every` and `freeze_every` are means of random waits."""

    seed: int
    jobs: int
    kills: int
    workers: int = 4
    limit: int = 5
    broker_restarts: int = 1
    database_crashes: int = 1
    kill_every: float = 1.0
    flush_every: float = 5.0
    give_up_after: float = 600.0
    """How long after the last breakage everything must have ended."""

    @property
    def longest(self) -> float:
        """How long the breaking itself may take before what is left of it is given up, and said so."""
        return 60.0 + self.kills * self.kill_every * 4

    def lines(self) -> list[dict[str, object]]:
        """Return the jobs of the round, no two alike."""
        rng = Random(self.seed)  # noqa: S311 - a seed that replays is the point
        made: list[dict[str, object]] = []
        for number in range(self.jobs):
            shape = rng.choice((IMAGE, OTHER_IMAGE, IMAGE, VIDEO))
            body = {**shape["body"], "prompt": f"kite {number} of {self.seed}"}  # type: ignore[dict-item]
            made.append({"custom_id": f"job-{number:05}", "kind": shape["kind"], "body": body})
        return made
