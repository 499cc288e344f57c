"""The numbers that decisions and lanes need: the settings' over the kinds' own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from orchestrator import http
from orchestrator.config import Settings
from orchestrator.db.progress import SubmitLimits
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.kind import Kind
from orchestrator.domain.retry import PollSchedule, Rules
from orchestrator.services.lanes.context import LaneLimits
from orchestrator.zai.codes import CONTENT_CODES, LANDED_CODES, OVERLOAD_CODES
from orchestrator.zai.kinds import load_kinds

UNLISTED_SLOTS = 1  # zai-api.md 13: 1302 at low use; a new account may have a concurrency of 1


def make_rules(kinds: Mapping[str, Kind], settings: Settings) -> Rules:
    """Return every number that decisions need. Raises ConfigError when a setting names no kind."""
    margin = settings.leases.get("submit", LaneLimits().submit_margin)
    deadlines = {name: settings.call_deadlines.get(name, kind.call_deadline) for name, kind in kinds.items()}
    return Rules(
        schedules=poll_schedules(kinds, settings),
        overload_codes=OVERLOAD_CODES,
        content_codes=CONTENT_CODES,
        landed_codes=LANDED_CODES,
        resubmit_waits={name: deadline + margin + deadline for name, deadline in deadlines.items()},  # lease + deadline
    )


def poll_schedules(kinds: Mapping[str, Kind], settings: Settings) -> dict[str, PollSchedule]:
    """Return each kind's poll schedule, the settings' bounds over its own."""
    schedules = {name: kind.schedule for name, kind in kinds.items()}
    for name, (shortest, longest) in settings.poll_intervals.items():
        _check_kind(name, kinds, "ORCHESTRATOR_POLL_INTERVALS")
        first = timedelta(seconds=shortest)
        schedules[name] = PollSchedule(first=first, shortest=first, longest=timedelta(seconds=longest))
    return schedules


def make_limits(kinds: Mapping[str, Kind], settings: Settings, total_slots: int | None) -> LaneLimits:
    """Return what bounds the lanes of a process. Raises ConfigError when a setting names no kind."""
    for name in (*settings.call_deadlines, *settings.assumed_task_life, *settings.link_life):
        _check_kind(name, kinds, "ORCHESTRATOR_CALL_DEADLINES, _ASSUMED_TASK_LIFE, _LINK_LIFE")
    plain, leases = LaneLimits(), settings.leases
    return LaneLimits(
        archive_windows={**plain.archive_windows, **settings.archive_concurrency},
        submit_margin=leases.get("submit", plain.submit_margin),
        poll_lease=leases.get("poll", plain.poll_lease),
        poll_questions=http.POLL_CONNECTIONS,
        archive_lease=leases.get("archive", plain.archive_lease),
        output_max_bytes=settings.output_max_bytes,
        max_unknown_per_hour=settings.max_unknown_per_hour,
        resubmit_max=_resubmit_max(settings),
        total_slots=total_slots,
        is_slot_held_until_final=settings.slot_rule == "until_final",
        call_deadlines=settings.call_deadlines,
        task_lives=settings.assumed_task_life,
        slots=slots_per_model(kinds, settings.limits),
    )


def make_submit_limits(settings: Settings) -> SubmitLimits:
    """Return what bounds a submit claim."""
    return SubmitLimits(
        slots=slots_per_model(kinds_by_name(), settings.limits),
        max_unknown_per_hour=settings.max_unknown_per_hour,
        is_slot_held_until_final=settings.slot_rule == "until_final",
    )


def _resubmit_max(settings: Settings) -> int:
    """Return how often the policy may pay again for one job; 0 unless both settings ask for it."""
    if settings.on_unknown == "resubmit" and settings.resubmit_max == 0:
        raise ConfigError(
            "ORCHESTRATOR_RESUBMIT_MAX", "must be 1 or more for ORCHESTRATOR_ON_UNKNOWN=resubmit to do anything"
        )
    return settings.resubmit_max if settings.on_unknown == "resubmit" else 0


def slots_per_model(kinds: Mapping[str, Kind], limits: Mapping[str, int]) -> dict[str, int]:
    """Return the slots of every model. A `*` in the setting speaks for all models that the setting does not name."""
    if "*" in limits:
        return dict(limits)
    documented = {model.name: model.slots for kind in kinds.values() for model in kind.models.values()}
    return {**documented, **limits, "*": UNLISTED_SLOTS}


def _check_kind(name: str, kinds: Mapping[str, Kind], setting: str) -> None:
    if name not in kinds:
        raise ConfigError(setting, f"{name!r} is no kind; the kinds are {', '.join(sorted(kinds))}")


def kinds_by_name() -> Mapping[str, Kind]:
    """Return every kind that there is; needs no settings."""
    return load_kinds()
