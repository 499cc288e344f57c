"""A gallery whose files lie in buckets: signed links that work, and a policy that lets the browser follow each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.cli.test_gallery import Page, call, settings_of
from tests.fixtures.s3 import S3Server

FILM = {"custom_id": "film", "kind": "video", "body": {"model": "viduq1-text", "prompt": "a kite"}}
LAMP = {"custom_id": "lamp", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a lamp"}}


@pytest.fixture
def settings(tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> Iterator[dict[str, str]]:
    """Give the settings of a data directory whose archive is a bucket."""
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        yield settings_of(tmp_path, sandbox) | {
            "ORCHESTRATOR_ARCHIVE_URL": f"s3://{s3_bucket}/films",
            "ORCHESTRATOR_S3_ENDPOINT_URL": s3_server.endpoint_url,
            "ORCHESTRATOR_S3_REGION": s3_server.region,
            "AWS_ACCESS_KEY_ID": s3_server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": s3_server.secret_access_key,
        }


def run(settings: dict[str, str], path: Path, *lines: object) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ended = call(settings, "run", str(path))
    assert ended.exit_code == 0, ended.stderr


def draw(settings: dict[str, str], path: Path) -> Page:
    """Draw the gallery of the newest batch."""
    newest = json.loads(call(settings, "batches", "list", "-o", "jsonl").stdout.splitlines()[0])["id"]
    made = call(settings, "batches", "gallery", newest, "-o", str(path), "--expires", "2h")
    assert made.exit_code == 0, made.stderr
    return Page(path.read_text())


def links(page: Page) -> list[str]:
    return [address for address in page.addresses() if address != "data:,"]


def policy(page: Page) -> str:
    return next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")


def test_signed_links_lead_to_the_files(settings: dict[str, str], tmp_path: Path, s3_server: S3Server) -> None:
    """Each is signed for as long as was asked, says so, and gives the file; the policy names the bucket's host alone."""
    run(settings, tmp_path / "jobs.jsonl", FILM, LAMP)
    page = draw(settings, tmp_path / "gallery.html")
    assert len(links(page)) >= 3
    assert all(link.startswith(s3_server.endpoint_url) and "X-Amz-Expires=7200" in link for link in links(page))
    answers = [httpx.get(link, trust_env=False) for link in links(page)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["content-type"].partition("/")[0] for answer in answers} == {"image", "video"}
    assert f"media-src {s3_server.endpoint_url};" in policy(page)
    assert "Its links work until" in page.text


def test_lines_of_another_archive_are_let_through(
    settings: dict[str, str], tmp_path: Path, s3_server: S3Server
) -> None:
    """A batch in a folder with a line that was made into a bucket: the policy names both."""
    run(settings, tmp_path / "jobs.jsonl", FILM)
    folder = {name: value for name, value in settings.items() if name != "ORCHESTRATOR_ARCHIVE_URL"}
    run(folder, tmp_path / "more.jsonl", FILM, LAMP)
    page = draw(folder, tmp_path / "gallery.html")
    assert sum(link.startswith(s3_server.endpoint_url) for link in links(page)) >= 1
    assert any((tmp_path / link).is_file() for link in links(page))
    assert f"media-src file: 'self' {s3_server.endpoint_url};" in policy(page)
    assert "Its links work until" in page.text
