"""The recipe that everybody writes, as the yardstick beside ours: Celery, one message a step, `retry(countdown)` to wait.

Kept fair: acknowledged late, prefetch 1, no results, one kept HTTP client a process, no logging of each step. Nothing is
stored: no history, no evidence, no money counted, so this is the least that such a recipe costs.
"""

from __future__ import annotations

import os
from functools import cache

import httpx
from celery import Celery, Task

app = Celery("recipe", broker=os.environ.get("RECIPE_BROKER"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
)
BASE_URL = os.environ.get("RECIPE_BASE_URL", "")
WAIT_SECONDS = float(os.environ.get("RECIPE_WAIT_SECONDS", "5"))
BODY = {"model": "glm-image", "prompt": "a kite over the sea"}


@cache
def client() -> httpx.Client:
    """Return this process's client, its connections kept."""
    return httpx.Client(headers={"Authorization": "Bearer bench.key"}, timeout=30)


@app.task(bind=True, max_retries=None)  # type: ignore[untyped-decorator]
def submit(self: Task) -> None:
    """Pay for a task; while the limit is reached, come back later."""
    answer = client().post(f"{BASE_URL}/async/images/generations", json=BODY)
    if answer.status_code == 429:
        raise self.retry(countdown=WAIT_SECONDS)
    answer.raise_for_status()
    poll.apply_async((answer.json()["id"],), countdown=WAIT_SECONDS)


@app.task(bind=True, max_retries=None)  # type: ignore[untyped-decorator]
def poll(self: Task, task_id: str) -> None:
    """Ask about the task; while it runs, come back later."""
    answer = client().get(f"{BASE_URL}/async-result/{task_id}")
    answer.raise_for_status()
    if answer.json()["task_status"] == "PROCESSING":
        raise self.retry(countdown=WAIT_SECONDS)
