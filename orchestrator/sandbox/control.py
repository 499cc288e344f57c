"""The control surface under /_sandbox (surfaces.md section 6): what tests and people use to steer and to audit. Beyond
it: GET of every setting, `options` (see `options.Behaviour`) and `clock`.
"""

import json
from typing import Any

from orchestrator.sandbox.clock import rfc3339
from orchestrator.sandbox.faults import parse_rules
from orchestrator.sandbox.fields import SandboxConfigError, number
from orchestrator.sandbox.studio import Studio
from orchestrator.sandbox.wire import Call
from orchestrator.sandbox.world import World


async def control(call: Call, world: World, studio: Studio, path: str) -> None:
    """Answers a control call; a value that cannot be used is a 400 that names its field and changes nothing."""
    try:
        document = json.loads((await call.read_body()) or b"null") if call.method in ("PUT", "POST") else None
        answer = _answer(world, studio, f"{call.method} {path}", document)
    except SandboxConfigError as error:
        await call.json({"error": {"code": "invalid", "message": str(error)}}, status=400)
    except ValueError:
        await call.json({"error": {"code": "invalid", "message": "the body is not JSON"}}, status=400)
    else:
        found = answer is not None
        missing = {"error": {"code": "not_found", "message": f"no control call {call.method} {path}"}}
        await call.json(answer if found else missing, status=200 if found else 404)


def _answer(world: World, studio: Studio, name: str, document: Any) -> object:  # noqa: ANN401 - any JSON value
    """Does what the call asks for and gives its answer; None for an unknown call."""
    match name:
        case "PUT /faults":
            world.change_faults(parse_rules(document))
        case "PUT /limits":
            world.change_settings(world.settings.with_limits(document))
        case "PUT /latency":
            world.change_settings(world.settings.with_latency(document))
        case "PUT /options":
            behaviour = world.settings.behaviour.changed(document)
            world.change_settings(world.settings.with_behaviour(behaviour))
        case "POST /clock":
            world.advance(_seconds(document))
        case "POST /reset":
            world.forget()
            studio.forget()
    return _shown(world, name.partition(" ")[2]) if name in CALLS else None


CALLS = {
    *("GET /ledger", "GET /stats", "POST /clock", "POST /reset", "GET /clock"),
    *(f"{method} /{name}" for name in ("faults", "limits", "latency", "options") for method in ("GET", "PUT")),
}


def _shown(world: World, path: str) -> object:
    settings = world.settings.as_json()
    match path:
        case "/ledger":
            return {"data": world.ledger()}
        case "/stats":
            return _stats(world)
        case "/faults":
            return [rule.as_json() for rule in world.faults.rules]
        case "/limits":
            return {**world.all_limits(), "slot_rule": settings["slot_rule"]}
        case "/latency":
            return settings["latency"]
        case "/options":
            return settings["behaviour"]
        case "/clock":
            return {"now": rfc3339(world.clock.now()), "offset_seconds": world.clock.offset}
        case _:
            return {}


def _stats(world: World) -> dict[str, Any]:
    return {
        "requests": dict(world.requests),
        "in_flight_high_water": dict(world.high_water),
        "max_posts_per_request_id": world.store.most_posts(),
        "refused": dict(world.refused),
        "fault_hits": world.faults.hits(),
    }


def _seconds(document: object) -> float:
    if not isinstance(document, dict) or set(document) != {"advance_seconds"}:
        raise SandboxConfigError("advance_seconds: an object with this one field is needed")
    return number("advance_seconds", document["advance_seconds"], least=0)
