"""Steering models while the fleet runs: their limits of slots and their pauses, as they stand for every process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from orchestrator.domain.errors import NotFound
from orchestrator.domain.kind import Kind
from orchestrator.domain.models import DEFAULT_CREDENTIAL, Models, ModelState
from orchestrator.domain.states import State
from orchestrator.services.views import Object, show_time

log = logging.getLogger(__name__)

EVERY_MODEL_ELSE = "*"


@dataclass(frozen=True)
class ModelDesk:
    """What models are looked at and steered with. `slots`: the settings' limits per model, `*` for the rest."""

    models: Models
    kinds: Mapping[str, Kind]
    slots: Mapping[str, int]
    is_slot_held_until_final: bool = True
    credential: str = DEFAULT_CREDENTIAL


def list_models(desk: ModelDesk) -> Sequence[Object]:
    """Return the model object of every model that a kind knows or that has been used, by kind and name."""
    kinds = {model: name for name, kind in desk.kinds.items() for model in kind.models}
    found = desk.models.list_models(desk.credential, is_held_until_final=desk.is_slot_held_until_final)
    states = {state.model: state for state in found}
    unused = [ModelState(desk.credential, model) for model in kinds if model not in states]
    objects = [model_object(state, kinds.get(state.model), desk.slots) for state in (*found, *unused)]
    return sorted(objects, key=lambda row: (str(row["kind"] or "~"), str(row["model"])))


def get_model(desk: ModelDesk, model: str) -> Object:
    """Return the model object of one model, also of one that is used no more."""
    shown = {str(row["model"]): row for row in list_models(desk)}
    return shown.get(model) or model_object(ModelState(desk.credential, model), None, desk.slots)


def model_object(state: ModelState, kind: str | None, slots: Mapping[str, int]) -> Object:
    """Return the model object; `slots` are the settings' limits, `limit_from` says whose limit holds."""
    setting = slots.get(state.model, slots.get(EVERY_MODEL_ELSE, 1))
    return {
        "object": "model",
        "model": state.model,
        "kind": kind,
        "credential": state.credential,
        "limit": state.slot_limit or setting,
        "limit_from": "operator" if state.slot_limit else "settings",
        "in_use": state.held_count,
        "queued": state.counts.get(State.QUEUED, 0),
        "processing": state.counts.get(State.PROCESSING, 0),
        "archiving": state.counts.get(State.ARCHIVING, 0),
        "is_paused": state.submit_paused_until is not None,
        "paused_until": None if state.is_paused_by_hand else show_time(state.submit_paused_until),
        "pause_code": state.submit_pause_code,
        "pause_message": state.submit_pause_message,
    }


def tell_excess(in_use: int, limit: int) -> str | None:
    """Return what it means that more is in flight than may be, as after a limit was lowered; None when it is not so."""
    if in_use <= limit:
        return None
    return f"over the limit: nothing is submitted until {in_use - limit + 1} of these {in_use} have ended"


def limit_model(desk: ModelDesk, model: str, limit: int | None, *, actor: str) -> None:
    """Set how many requests of a model may be in flight, over the settings of every process; None: as they say again.

    It holds from the next claim on; what is in flight goes on. Raises NotFound.
    """
    _require_known(desk, model)
    desk.models.set_limit(desk.credential, model, limit)
    log.info("model_limited", extra={"model": model, "limit": limit, "actor": actor})


def pause_model(desk: ModelDesk, model: str, *, actor: str, reason: str) -> None:
    """Submit nothing more for a model until it is resumed; what is paid for goes on. Raises NotFound."""
    _require_known(desk, model)
    desk.models.pause(desk.credential, model, message=f"by {actor}{f': {reason}' if reason else ''}")
    log.info("model_paused", extra={"model": model, "actor": actor, "reason": reason})


def resume_model(desk: ModelDesk, model: str, *, actor: str) -> bool:
    """End a model's pause, whoever made it; False when there was none. Raises NotFound."""
    _require_known(desk, model)
    was_paused = desk.models.resume(desk.credential, model)
    log.info("model_resumed", extra={"model": model, "was_paused": was_paused, "actor": actor})
    return was_paused


def _require_known(desk: ModelDesk, model: str) -> None:
    """A limit or pause of a misspelled model would be believed and do nothing."""
    known = [name for kind in desk.kinds.values() for name in kind.models]
    if model in known or desk.models.has_jobs(desk.credential, model):
        return
    near = get_close_matches(model, known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise NotFound(f"there is no model {model}, and no job of one", hint=f"{guess}`orchestrator models list` has all")
