"""What jobs made, as pages show it: where a browser may load it from, and the words of a transcript."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from orchestrator.api.desk import LINK_LIFE, Desk
from orchestrator.domain.job import Job, Output, Role

TEXT_SHOWN_BYTES = 20_000


def sources_of(desk: Desk, jobs: Iterable[Job]) -> frozenset[str]:
    """Return the origins that signed links of these jobs' outputs lead to; none where we serve the bytes ourselves."""
    found: dict[str, str] = {}
    for job in jobs:
        stored = next((output.kept for output in job.outputs if output.kept is not None), None)
        store = desk.app.stores.open(job.archive_url)
        if stored is not None and store.has_public_links and job.archive_url not in found:
            link = urlsplit(store.sign_url(stored.key, expires=LINK_LIFE))
            found[job.archive_url] = f"{link.scheme}://{link.netloc}"
    return frozenset(found.values())


def read_transcripts(desk: Desk, job: Job) -> dict[str, str]:
    """Return the text of each archived transcript by its output's id, cut where it grows long."""
    return {
        output.id: _read(desk, job, output)
        for output in job.outputs
        if output.role is Role.TRANSCRIPT and output.kept is not None
    }


def _read(desk: Desk, job: Job, output: Output) -> str:
    assert output.kept is not None
    data = bytearray()
    for chunk in desk.app.stores.open(job.archive_url).read_chunks(output.kept.key):
        data += chunk
        if len(data) > TEXT_SHOWN_BYTES:
            return data[:TEXT_SHOWN_BYTES].decode("utf-8", "replace") + " ..."
    return data.decode("utf-8", "replace")
