"""Promise 13: signed links do not stay in the evidence."""

from __future__ import annotations

import pytest

from orchestrator.domain.redact import redact_links, redact_secrets


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"url":"https://h/x.png?Signature=abc&Expires=1"}', '{"url":"https://h/x.png?[redacted]"}'),
        ("http://h/a?X-Amz-Signature=1 http://h/b#k", "http://h/a?[redacted] http://h/b?[redacted]"),
        ('{"url":"https:\\/\\/h\\/x?s=1\\/2"}', '{"url":"https:\\/\\/h\\/x?[redacted]"}'),
        ("no link? none", "no link? none"),
        ("https://h/plain.mp4", "https://h/plain.mp4"),
    ],
)
def test_the_query_of_every_link_is_struck_out(text: str, kept: str) -> None:
    assert redact_links(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("whsec_AAEC+/w== and whsec_x", "whsec_[redacted] and whsec_[redacted]"),
        ("whsec_", "whsec_[redacted]"),
        ("no secret", "no secret"),
    ],
)
def test_every_webhook_secret_is_struck_out(text: str, kept: str) -> None:
    assert redact_secrets(text) == kept


def test_links_in_links_are_struck_out_as_one() -> None:
    """Each character is looked at once, whatever an answer is made of."""
    many = "http://" * 20_000
    assert redact_links(many) == many
    assert redact_links(f"{many}h?s=1") == f"{many}h?[redacted]"
