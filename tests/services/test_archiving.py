"""The archive lane against links that die, lie and stop short (design section 8, faults E1-E7), end to end."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import url2pathname

import pytest

from orchestrator.cli.running import RunEnd, run_batch
from orchestrator.domain.job import Job, Role
from orchestrator.domain.states import State
from orchestrator.egress import GuardedFetch
from tests.services.desk import IMAGE, VIDEO, Desk

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
    assert manifest["job"]["provider_task_id"] == job.provider_task_id
    assert manifest["job"]["submission_ids"] == [submission.id for submission in job.submissions]


@pytest.mark.parametrize("fault", ["truncated", "zero_bytes", "html_body", "wrong_type"])
def test_a_bad_body_is_never_archived_and_tried_again(lane_desk: Desk, fault: str) -> None:
    """Faults E1, E4, E5: refused, then fetched whole; one charge."""
    lane_desk.fault(fault=fault, phase="link", path="/_files/video", times=1)
    end, (job,) = run(lane_desk, VIDEO)
    assert end.exit_code == 0
    assert "archive_failed" in events_of(lane_desk, job)
    assert len(lane_desk.ledger()) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_dead_link_is_asked_for_again(lane_desk: Desk, status: int) -> None:
    """Fault E7: the provider is asked for a fresh link; nothing is paid for it."""
    lane_desk.fault(fault="dead_link", phase="link", path="/_files/video", times=1, status=status)
    end, (job,) = run(lane_desk, VIDEO)
    assert end.exit_code == 0
    assert "fresh_link_asked" in events_of(lane_desk, job)
    assert len(lane_desk.ledger()) == 1


def test_a_lost_cover_does_not_fail_the_job(lane_desk: Desk) -> None:
    """Design section 6: covers are optional; their loss is told."""
    lane_desk.fault(fault="dead_link", phase="link", path="/_files/cover", status=404)
    end, (job,) = run(lane_desk, VIDEO)
    assert end.exit_code == 0
    video, cover = job.outputs
    assert video.stored is not None
    assert cover.is_lost
    assert "output_lost" in events_of(lane_desk, job)


def test_a_link_that_cannot_be_replaced_is_a_proven_loss(lane_desk: Desk) -> None:
    """An immediate kind has no task to ask again: failed/output_expired, naming the output."""
    lane_desk.fault(fault="dead_link", phase="link", status=403)
    end, (job,) = run(lane_desk, IMAGE)
    assert end.exit_code == 3
    assert job.state is State.FAILED
    assert job.failure_code == "output_expired"
    assert "output 0" in str(job.failure_message)


def test_a_download_does_not_grow_with_its_file(lane_desk: Desk, tmp_path: Path) -> None:
    """Memory flat in file size: 64 MiB through the fetch in a few MiB."""
    chunk = bytes(MIB)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(64 * MIB))
            self.end_headers()
            for _ in range(64):
                self.wfile.write(chunk)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        fetch = GuardedFetch(allow=[address])
        into = tmp_path / "big.part"
        tracemalloc.start()
        try:
            call = fetch.fetch(f"http://{address}/big.mp4", into, max_bytes=100 * MIB, deadline=timedelta(minutes=2))
            found = lane_desk.loop.submit(call).result()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            lane_desk.loop.submit(fetch.close()).result()
            server.shutdown()
    assert found.byte_count == into.stat().st_size == 64 * MIB
    assert peak < 16 * MIB
