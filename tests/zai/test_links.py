"""When a result link says that it dies, and which links are links at all (zai-api.md 4.7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.zai.links import find_expiry, is_usable_link

IN_2026 = datetime(2026, 11, 23, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "expiry"),
    [
        ("UCloudPublicKey=k&Signature=s&Expires=1795442400", IN_2026),
        ("Expires=1795442400", IN_2026),
        ("expires=1795442400", IN_2026),
        ("X-Amz-Date=20261123T130000Z&X-Amz-Expires=3600&X-Amz-Signature=s", IN_2026),
        ("x-amz-date=20261123T130000Z&x-amz-expires=3600", IN_2026),
        ("X-Amz-Expires=3600", None),
        ("X-Amz-Date=20261123T130000Z", None),
        ("X-Amz-Date=2026-11-23&X-Amz-Expires=3600", None),
        ("X-Amz-Date=99991231T235959Z&X-Amz-Expires=604800", None),  # ends after the last day that there is
        ("X-Amz-Date=20261123T130000Z&X-Amz-Expires=99999999999", None),
        ("Expires=1795442400000", None),
        ("Expires=-1", None),
        ("Expires=0", None),
        ("Expires=soon", None),
        ("Expires=१२३४५६७८९०", None),
        ("Expires=" + "9" * 5000, None),
        ("", None),
    ],
)
def test_a_link_says_when_it_expires(query: str, expiry: datetime | None) -> None:
    """Absolute seconds, or a start and a life; nothing implausible is believed."""
    assert find_expiry(f"https://cdn.example.test/x.mp4?{query}") == expiry


@given(st.text(st.sampled_from(list("htps:/[]@#?&=%.-xX0149ZT \n\u0660")), max_size=40))
def test_no_text_crashes_the_readers(text: str) -> None:
    """Links are the provider's text."""
    for url in (text, f"https://h/?{text}", f"http://{text}", f"https://h/?X-Amz-Date={text}&X-Amz-Expires={text}"):
        find_expiry(url)
        assert is_usable_link(url) in (True, False)
