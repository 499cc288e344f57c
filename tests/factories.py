"""Values for tests, each with everything it needs and any field to be set by name."""

# ruff: noqa: ANN401 - a factory takes any field of its value by name

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from orchestrator.domain.job import Batch, Job, NewJob, OutputDraft, Price, Role, StoredFile
from orchestrator.domain.ports import SubmitWindow
from orchestrator.domain.states import State
from tests.fixtures.clock import START

_numbers = itertools.count(1)

HOUR = timedelta(hours=1)
DEADLINES: Mapping[str, timedelta] = {"video": timedelta(seconds=60), "image": timedelta(seconds=180)}
LIVES: Mapping[str, timedelta] = {"video": HOUR, "image": HOUR}


def make_id(prefix: str) -> str:
    """Return an id that sorts after every one made before."""
    return f"{prefix}_{next(_numbers):032x}"


def make_new_job(**changes: Any) -> NewJob:
    """Return a video job to insert."""
    number = next(_numbers)
    job = NewJob(
        id=make_id("job"),
        kind="video",
        model="cogvideox-3",
        body={"model": "cogvideox-3", "prompt": f"scene {number}"},
        body_sha256=f"{number:064x}",
        input={"prompt": f"scene {number}"},
        credential="default",
        archive_url="file:///archive",
        archive_class="video",
        line_number=number,
        custom_id=f"scene-{number}",
        price=Price(200_000, "USD", "2026-11"),
    )
    return replace(job, **changes)


def make_batch(**changes: Any) -> Batch:
    """Return a batch whose intake is not done."""
    batch = Batch(
        id=make_id("batch"),
        owner="local",
        name="scenes.jsonl",
        identity_sha256=f"{next(_numbers):064x}",
        environment="sandbox",
        archive_url="file:///archive",
        line_count=1,
        is_intake_done=False,
        created_at=START,
    )
    return replace(batch, **changes)


def make_job(**changes: Any) -> Job:
    """Return a job as read, queued unless told otherwise."""
    job = Job(
        id=make_id("job"),
        kind="video",
        model="cogvideox-3",
        state=State.QUEUED,
        body={"model": "cogvideox-3", "prompt": "a red kite"},
        body_sha256="0" * 64,
        credential="default",
        archive_url="file:///archive",
        created_at=START,
    )
    return replace(job, **changes)


def make_window(**changes: Any) -> SubmitWindow:
    """Return a submit window with room for whatever slots allow."""
    window = SubmitWindow(
        limit=100,
        slots={"*": 5},
        deadlines=DEADLINES,
        task_lives=LIVES,
        margin=timedelta(seconds=60),
        process="host-1",
    )
    return replace(window, **changes)


def make_draft(index: int = 0, **changes: Any) -> OutputDraft:
    """Return an announced video with a link."""
    draft = OutputDraft(index=index, role=Role.VIDEO, url=f"https://cdn.example/{index}.mp4", expires_at=START + HOUR)
    return replace(draft, **changes)


def make_file(**changes: Any) -> StoredFile:
    """Return a stored file."""
    file = StoredFile(key="2026/11/23/job/0-video.mp4", byte_count=1000, sha256="a" * 64, content_type="video/mp4")
    return replace(file, **changes)
