"""POSTs for pictures and videos: from the checked order to the answer, through every fault of the submit phase
(surfaces.md section 6, zai-api.md sections 2.3, 3.4). Speech goes the same way from `taken` on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from orchestrator.sandbox.answers import fail_in_call, send_malformed, strike, submitted
from orchestrator.sandbox.auth import check_authorization
from orchestrator.sandbox.checks import check_image, check_video
from orchestrator.sandbox.errors import Refusal
from orchestrator.sandbox.faults import ANSWER_FAULTS, REFUSALS, TASK_FAULTS, Meeting, Rule
from orchestrator.sandbox.links import Links
from orchestrator.sandbox.store import Task
from orchestrator.sandbox.wire import Call
from orchestrator.sandbox.world import Order, World

SUBMIT_FAULTS = frozenset((*REFUSALS, *ANSWER_FAULTS, *TASK_FAULTS))
# These strike a task that exists and is charged, unless the rule says `charged: false`; the others strike before.
WORKS_FIRST = frozenset(("hang", "lost_answer", "malformed_answer", *TASK_FAULTS))
# Larger bodies hold pictures, whose checking is kept off the event loop.
SMALL_BODY_CHARACTERS = 64 * 1024


async def submit_video(call: Call, world: World) -> None:
    """POST /videos/generations."""
    await _submit(call, world, check_video)


async def submit_image(call: Call, world: World) -> None:
    """POST /async/images/generations."""
    await _submit(call, world, lambda body: check_image(body, route="async"))


async def make_image(call: Call, world: World) -> None:
    """POST /images/generations: the call lasts as long as the task does."""
    body = await read_posted(call, world)
    async with taken(call, world, check_image(body, route="sync")) as (task, rule):
        await wait_in_call(call, world, task)
        url = Links.of(call, world).image(task, at=world.clock.now())
        answer: dict[str, Any] = {
            "created": int(task.finish_at),
            "data": [] if is_empty(rule) else [{"url": url}],
            "content_filter": [{"level": 3, "role": "assistant"}],
        }
        if world.rng("ids of a picture", task.number).choice((True, False)):  # additional fields seen, section 2.3
            answer |= {"id": task.id, "request_id": task.request_id}
        await deliver(call, world, task, answer, rule)


async def _submit(call: Call, world: World, check: Callable[[dict[str, Any]], Order]) -> None:
    body = await read_posted(call, world)
    if len(str(body.get("image_url", ""))) > SMALL_BODY_CHARACTERS:
        order = await asyncio.to_thread(check, body)
    else:
        order = check(body)
    async with taken(call, world, order) as (task, rule):
        status = task.status(world.clock.now()) if task.outcome == "FAIL" else "PROCESSING"
        if rule is not None and rule.fault == "unknown_status":
            status = rule.reason or "SUBMITTED"
        await deliver(call, world, task, submitted(task, status), rule)


async def read_posted(call: Call, world: World) -> dict[str, Any]:
    """The JSON body of a POST, counted under its request_id whatever becomes of it, the caller's key included."""
    try:
        body = await call.read_json()
    except Refusal:
        check_caller(call, world)
        raise
    count_post(world, body.get("request_id"))
    check_caller(call, world)
    return body


def check_caller(call: Call, world: World) -> None:
    """Refuses a caller without a good key."""
    check_authorization(call.request.headers.get("authorization"), now=world.clock.now())


def count_post(world: World, request_id: object) -> None:
    """Counts a POST by its request_id, when it has one."""
    if isinstance(request_id, str) and request_id:
        world.store.count_post(request_id)


@asynccontextmanager
async def taken(call: Call, world: World, order: Order) -> AsyncIterator[tuple[Task, Rule | None]]:
    """Takes the order: faults that strike before any work, a used request_id, the slot, then the charge. Yields the
    task and the fault that is still to strike its answer; the slot is held for as long as the block lasts.
    """
    meeting = Meeting("submit", call.method, call.api_path, order.model)
    rule = world.meet(meeting, applicable=SUBMIT_FAULTS)
    if rule is not None and not (rule.fault in WORKS_FIRST if rule.charged is None else rule.charged):
        await strike(call, world, rule)
        rule = None
    with ExitStack() as stack:
        try:
            world.check_unused(order.request_id)
            stack.enter_context(world.slot(order.model))
        except Refusal:
            world.spare(rule)
            raise
        yield world.accept(order, rule), rule


async def wait_in_call(call: Call, world: World, task: Task) -> None:
    """Lets a synchronous task take its time; a task that fails answers an error, since no FAIL exists here."""
    await call.unless_left(world.clock.wait_until(task.finish_at))
    if task.outcome == "FAIL":
        raise fail_in_call(task)


async def deliver(call: Call, world: World, task: Task, answer: dict[str, Any], rule: Rule | None) -> None:
    """Answers, unless the fault forbids; the ledger learns whether a true answer was handed over whole."""
    await strike_answer(call, world, answer, rule)
    if await call.json(answer):
        world.store.mark_answered(task.id)


async def strike_answer(call: Call, world: World, answer: dict[str, Any], rule: Rule | None) -> None:
    """Lets a fault strike the answer of a task that exists; returns when an answer is to be given after all."""
    if rule is None or rule.fault in TASK_FAULTS:
        return
    if rule.fault == "malformed_answer":
        await send_malformed(call, rule, answer)
    await strike(call, world, rule)


def is_empty(rule: Rule | None) -> bool:
    """Whether the answer is to hold no result."""
    return rule is not None and rule.fault == "empty_result"
