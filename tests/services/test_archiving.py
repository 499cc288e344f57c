"""The archive lane against links that die, lie and stop short (design section 8, faults E1-E7), end to end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

from orchestrator.cli.running import RunEnd, run_batch
from orchestrator.domain.job import Job, Role
from tests.services.desk import VIDEO, Desk

MIB = 1 << 20


def run(desk: Desk, *lines: Mapping[str, Any]) -> tuple[RunEnd, list[Job]]:
    """Run the lines to their end."""
    batch = desk.take(*lines)
    end = run_batch(desk.app, batch, total_slots=None, render=lambda job: job.id)
    return end, list(desk.jobs(batch))


def events_of(desk: Desk, job: Job) -> list[str]:
    return [event.type for event in desk.app.history.list_events(job.id)]


def archived(desk: Desk, key: str) -> bytes:
    folder = Path(url2pathname(desk.app.settings.archive.removeprefix("file://")))
    return (folder / key).read_bytes()


def test_what_succeeded_is_in_the_archive_with_its_papers(lane_desk: Desk) -> None:
    """Promise 6: bytes, length and SHA-256 agree; the provider's links are forgotten; manifest.json says it all."""
    end, (job,) = run(lane_desk, VIDEO)
    assert end.exit_code == 0
    assert [output.role for output in job.outputs] == [Role.VIDEO, Role.COVER]
    manifest = json.loads(archived(lane_desk, f"{job.created_at:%Y/%m/%d}/{job.id}/manifest.json"))
    for output, paper in zip(job.outputs, manifest["outputs"], strict=True):
        assert output.stored is not None
        data = archived(lane_desk, output.stored.key)
        assert hashlib.sha256(data).hexdigest() == output.stored.sha256 == paper["sha256"]
        assert len(data) == output.stored.byte_count
        assert output.source_url is None
        assert output.stored.key.startswith(f"{job.created_at:%Y/%m/%d}/{job.id}/{output.index}-{output.role}-")
        assert paper["source_host"] == "127.0.0.1"
    assert manifest["job"]["provider_task_id"] == job.provider_task_id
    assert [paper["id"] for paper in manifest["submissions"]] == [submission.id for submission in job.submissions]


def test_a_bad_body_is_never_archived_and_tried_again(lane_desk: Desk) -> None:
    """Fault E1, all lanes running (each other bad body: test_storing): refused, then fetched whole; one charge."""
    lane_desk.fault(fault="truncated", phase="link", path="/_files/video", times=1)
    end, (job,) = run(lane_desk, VIDEO)
    assert end.exit_code == 0
    assert "archive_failed" in events_of(lane_desk, job)
    assert len(lane_desk.ledger()) == 1


def test_a_dead_link_is_asked_for_again(lane_desk: Desk) -> None:
    """Fault E7: the provider is asked for a fresh link; nothing is paid for it."""
    lane_desk.fault(fault="dead_link", phase="link", path="/_files/video", times=1, status=403)
    end, (job,) = run(lane_desk, VIDEO)
    assert end.exit_code == 0
    assert "fresh_link_asked" in events_of(lane_desk, job)
    assert len(lane_desk.ledger()) == 1
