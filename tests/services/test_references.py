"""What a reference becomes when its job's turn comes, and what happens when it cannot become anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from orchestrator.domain.errors import InputLost
from orchestrator.domain.job import Job, Output, Role, StoredFile
from orchestrator.domain.kind import FrozenInput
from orchestrator.domain.ports import Store
from orchestrator.domain.states import State
from orchestrator.services.references import LEAST_LIFE, Resolved, has_references, resolve
from orchestrator.storage.open import StoreSet
from orchestrator.storage.options import StoreOptions
from orchestrator.wiring import kinds_by_name
from tests.factories import make_job
from tests.fixtures.clock import START

VIDEO = kinds_by_name()["video"]
PICTURE = StoredFile("2026/11/22/job/0-image-aa.png", 1000, "ab" * 32, "image/png", width=640, height=640)
LINK = "https://cdn.example/0.png?sig=secret"


def parent_of(archive_url: str = "file:///archive", **changes: object) -> Mapping[str, Job]:
    """Return a picture that was made."""
    plain = Output("out_1", "job_p", 0, Role.IMAGE, stored=PICTURE)
    output = Output(**{**vars(plain), **changes})
    job = make_job(id="job_p", kind="image", state=State.SUCCEEDED, archive_url=archive_url, outputs=(output,))
    return {"a": job}


def film(picture: object = "{{a.outputs[0].url}}", **body: object) -> Job:
    """Return a video that starts from it."""
    whole = {"model": "cogvideox-3", "prompt": "{{a.outputs[0].url}}", "image_url": picture, **body}
    return make_job(kind="video", body=whole)


def resolved(job: Job, parents: Mapping[str, Job], options: StoreOptions | None = None) -> Resolved:
    """Resolve with the real stores; none of them is asked anything."""
    return resolve(job, VIDEO, parents, StoreSet(options), START)


def test_a_live_link_of_the_provider_comes_first() -> None:
    """While it lives long enough, the provider's own link is handed in; the history names its host only."""
    parents = parent_of(source_url=LINK, source_expires_at=START + LEAST_LIFE + timedelta(seconds=1))
    found = resolved(film(), parents)
    assert found.body["image_url"] == LINK
    assert found.used == {"references": {"image_url": {"output_id": "out_1", "by": "cdn.example"}}}


def test_what_retention_took_away_is_named_as_that() -> None:
    """A line that is tried again after its picture was taken away fails before anything is sent, and says when it went."""
    with pytest.raises(InputLost, match="out_1 of job_p was taken away by a retention rule on 2"):
        resolved(film(), parent_of(erased_at=START))


@pytest.mark.parametrize("ends", [None, START + LEAST_LIFE], ids=["unknown", "soon"])
def test_a_link_that_may_end_is_not_used(ends: object) -> None:
    """A link of unknown or short life could be dead when the provider fetches it."""
    found = resolved(film(), parent_of(source_url=LINK, source_expires_at=ends))
    assert FrozenInput.from_json(found.body["image_url"]) is not None


def test_a_public_link_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that others reach gives a signed link, and the history keeps nothing of its signature."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    options = StoreOptions("http://127.0.0.1:9", "https://files.example", region="eu-west-1")
    found = resolved(film(), parent_of("s3://bucket/media"), options)
    link = str(found.body["image_url"])
    assert link.startswith("https://files.example/bucket/media/2026/11/22/job/0-image-aa.png?")
    assert "X-Amz-Signature=" in link
    used = {"output_id": "out_1", "by": "files.example", "sha256": PICTURE.sha256}
    assert found.used == {"references": {"image_url": used}}


@pytest.mark.parametrize(
    ("url", "options"),
    [("file:///archive", None), ("s3://bucket", StoreOptions("http://127.0.0.1:9", region="eu-west-1"))],
    ids=["directory", "endpoint"],
)
def test_an_archive_that_only_we_reach_gives_bytes(url: str, options: StoreOptions | None) -> None:
    """Without a link for others the bytes travel, by the key and hash under which they were archived."""
    found = resolved(film(), parent_of(url), options)
    frozen = FrozenInput.from_json(found.body["image_url"])
    assert frozen == FrozenInput(PICTURE.sha256, 1000, "image/png", "0-image-aa.png", (url, PICTURE.key))
    assert found.body["prompt"] == "{{a.outputs[0].url}}"


def test_bytes_over_the_models_cap_fail_before_they_are_sent() -> None:
    """What the model does not take as bytes, and nobody can fetch, ends the job at no cost."""
    big = StoredFile(PICTURE.key, 6 << 20, PICTURE.sha256, "image/png", width=640, height=640)
    with pytest.raises(InputLost, match="at most") as raised:
        resolved(film(), parent_of(stored=big))
    assert raised.value.code == "input_missing"


@pytest.mark.parametrize(
    "parents",
    [{}, {"a": make_job(id="job_p", outputs=())}, parent_of(is_lost=True), parent_of(stored=None)],
    ids=["no parent", "no output", "lost", "not archived"],
)
def test_an_output_that_is_not_there_fails_the_job(parents: Mapping[str, Job]) -> None:
    """A cover that was lost, or an output that was never made, cannot be handed in."""
    with pytest.raises(InputLost):
        resolved(film(), parents)


def test_each_picture_of_a_list_is_resolved() -> None:
    """References stand beside links in a list; the others stay."""
    found = resolved(film(["https://x.example/a.png", "{{a.outputs[0].url}}"]), parent_of())
    pictures = cast("list[object]", found.body["image_url"])
    assert pictures[0] == "https://x.example/a.png"
    assert FrozenInput.from_json(pictures[1]) is not None


def test_a_body_without_references_asks_nobody() -> None:
    """A prompt is no slot."""
    assert not has_references(film("https://x.example/a.png"), VIDEO)
    assert has_references(film(), VIDEO)


def test_only_an_address_for_others_is_public(tmp_path: Path) -> None:
    """A path is not, an endpoint of ours is not; what the operator names for others is, and so is the cloud's own."""

    def is_public(url: str, options: StoreOptions | None = None) -> bool:
        store: Store = StoreSet(options).open(url)
        return store.has_public_links

    assert not is_public(tmp_path.as_uri())
    assert not is_public("s3://bucket", StoreOptions(endpoint_url="http://minio:9000"))
    assert is_public("s3://bucket", StoreOptions("http://minio:9000", "https://files.example"))
    assert is_public("s3://bucket", StoreOptions(region="eu-west-1"))
