"""The example files hold what their README says."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import av
import pytest

from tests.repo.sources import ROOT

EXAMPLES = ROOT / "examples"
RECORDINGS = sorted(path.name for path in (EXAMPLES / "speech").iterdir())
KIND_OF_URL = {"/v1/videos/generations": "video"}


def quickstart() -> list[dict[str, Any]]:
    lines = (EXAMPLES / "quickstart.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line and not line.startswith("#")]


def test_the_quickstart_shows_every_kind() -> None:
    """At least three images, three videos and three transcriptions."""
    kinds = Counter(line.get("kind") or KIND_OF_URL[line["url"]] for line in quickstart())
    assert set(kinds) == {"image", "video", "transcription"}
    assert min(kinds.values()) >= 3


def test_the_quickstart_names_files_that_ship() -> None:
    """Every recording and picture of a line lies below examples/."""
    named = [line["body"][field] for line in quickstart() for field in ("file", "image_url") if field in line["body"]]
    assert len(named) >= 4
    assert [name for name in named if not (EXAMPLES / name).is_file()] == []


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_carries_its_words(name: str) -> None:
    """The simulator reads the transcript from the comment tag; the README says the same words."""
    with av.open(str(EXAMPLES / "speech" / name)) as recording:
        words = recording.metadata["comment"]
    assert words
    assert words in (EXAMPLES / "README.md").read_text(encoding="utf-8")
