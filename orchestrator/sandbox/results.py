"""GET /async-result/{id}: a task's state and result in every variant seen (zai-api.md section 4)."""

from typing import Any

from orchestrator.sandbox.answers import send_malformed, strike
from orchestrator.sandbox.catalog import MODELS
from orchestrator.sandbox.errors import CODES, Refusal
from orchestrator.sandbox.faults import ANSWER_FAULTS, REFUSALS, Meeting, Rule
from orchestrator.sandbox.links import Links
from orchestrator.sandbox.options import RESULT_VARIANTS
from orchestrator.sandbox.store import Task
from orchestrator.sandbox.wire import Call
from orchestrator.sandbox.world import World

ALWAYS = frozenset((*REFUSALS, *ANSWER_FAULTS, "unknown_status"))
ZERO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


async def read_result(call: Call, world: World) -> None:
    """Answers the state of the task named at the end of the path; synchronous tasks cannot be asked about."""
    task = world.store.find(call.api_path.rpartition("/")[2])
    if task is not None and task.route != "async":
        task = None
    rule = _met(call, world, task)
    if rule is not None and rule.fault not in ("malformed_answer", "fail", "unknown_status", "empty_result"):
        await strike(call, world, rule)
    if task is None:
        await call.json(_unknown(world, call.api_path.rpartition("/")[2]))
        return
    if rule is not None and rule.fault == "fail":
        world.store.finish(task.id, outcome="FAIL", reason=rule.reason, at=world.clock.now())
        task = world.store.find(task.id) or task
    answer = result_of(task, world, Links.of(call, world), rule)
    if rule is not None and rule.fault == "malformed_answer":
        await send_malformed(call, rule, answer)
    await call.json(answer)


def _met(call: Call, world: World, task: Task | None) -> Rule | None:
    """The fault of this poll: an empty result needs a result, and what is final stays final."""
    status = task.status(world.clock.now()) if task is not None else None
    also = {"SUCCESS": "empty_result", "PROCESSING": "fail"}.get(status or "", "")
    meeting = Meeting("poll", call.method, call.api_path, task.model if task is not None else "")
    return world.meet(meeting, applicable=ALWAYS | {also})


def _unknown(world: World, task_id: str) -> dict[str, Any]:
    """Section 4.6: undocumented, so switchable."""
    way = world.settings.behaviour.unknown_id
    if way == "fail":
        return {"id": task_id, "request_id": task_id, "task_status": "FAIL"}
    if way == "404":
        raise Refusal("1222", status=404)
    raise Refusal("1214", "The task does not exist.")


def result_of(task: Task, world: World, links: Links, rule: Rule | None = None) -> dict[str, Any]:
    """The body of the answer for a task at this moment."""
    now, status = world.clock.now(), task.status(world.clock.now())
    variant = _variant(task, world)
    if status == "FAIL":
        return _failed(task, world)
    answer: dict[str, Any] = {"model": task.model, "request_id": task.request_id, "task_status": status}
    if rule is not None and rule.fault == "unknown_status":
        return {**answer, "task_status": rule.reason or "SUBMITTED"}
    if variant in ("with_id", "usage"):
        answer["id"] = task.id
    if variant == "model_case":
        answer["model"] = MODELS[task.model].spelled
    if status == "PROCESSING":
        return answer | _nothing_yet(task, variant)
    at = now if world.settings.behaviour.links_resigned_per_poll else task.finish_at
    return answer | _extras(task, variant) | _result(task, links, at, variant, rule)


def _variant(task: Task, world: World) -> str:
    chosen = world.settings.behaviour.result_variant
    return world.rng("variant", task.number).choice(RESULT_VARIANTS[1:]) if chosen == "mixed" else chosen


def _nothing_yet(task: Task, variant: str) -> dict[str, Any]:
    """Section 4.1: the result of a running task may be absent, null or an empty list."""
    field = f"{task.kind}_result"
    nothing: dict[str, dict[str, Any]] = {"usage": {field: []}, "choices": {field: None}}
    return nothing.get(variant, {})


def _extras(task: Task, variant: str) -> dict[str, Any]:
    if variant == "usage":
        return {"usage": ZERO_USAGE}
    if variant == "choices":
        stub = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}
        return {"choices": [stub], "created": int(task.finish_at)}
    return {}


def _result(task: Task, links: Links, at: float, variant: str, rule: Rule | None) -> dict[str, Any]:
    field = f"{task.kind}_result"
    if task.kind == "video":
        result = {"url": links.video(task, at=at), "cover_image_url": links.cover(task, at=at)}
    else:
        result = {"url": links.image(task, at=at)}
    if rule is not None:
        return _emptied(field, result, rule.reason or "empty")
    return {field: result} if variant == "object" and task.kind == "image" else {field: [result]}


def _emptied(field: str, result: dict[str, str], way: str) -> dict[str, Any]:
    """SUCCESS that holds nothing usable; a way with a colon in it is put in place of the link."""
    if ":" in way:
        return {field: [{**result, "url": way}]}
    forms: dict[str, dict[str, Any]] = {
        "missing": {},
        "null": {field: None},
        "no_url": {field: [{name: link for name, link in result.items() if name != "url"}]},
        "empty_url": {field: [{**result, "url": ""}]},
        "null_url": {field: [{**result, "url": None}]},
    }
    return forms.get(way, {field: []})


def _failed(task: Task, world: World) -> dict[str, Any]:
    """Section 4.5: bare, or with a reason in one of the forms third parties look for."""
    bare = {"id": task.id, "model": task.model, "request_id": task.request_id, "task_status": "FAIL"}
    shape = world.settings.behaviour.fail_shape
    if shape == "empty_result":
        return {**bare, f"{task.kind}_result": []}
    if task.reason is None:
        return bare
    code = task.reason if task.reason in CODES else "1230"
    message = CODES[code][1] if code == task.reason else task.reason
    return {**bare, "message": message} if shape == "message" else {**bare, "error": {"code": code, "message": message}}
