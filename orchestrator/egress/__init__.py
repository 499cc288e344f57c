"""The guarded way out: every URL that we did not write ourselves is opened here (design promise 12)."""

from __future__ import annotations

from orchestrator.egress.allow import Allowed
from orchestrator.egress.bandwidth import Bandwidth
from orchestrator.egress.fetch import GuardedFetch, Pace
from orchestrator.egress.guard import EgressGuard
from orchestrator.egress.pinned import PinnedClient
from orchestrator.egress.post import GuardedPost
from orchestrator.egress.target import Target, parse_target

__all__ = [
    "Allowed",
    "Bandwidth",
    "EgressGuard",
    "GuardedFetch",
    "GuardedPost",
    "Pace",
    "PinnedClient",
    "Target",
    "parse_target",
]
