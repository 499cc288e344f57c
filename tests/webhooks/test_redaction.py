"""What a receiver echoes of a request is not kept, however it writes it (I3)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.ports import Sending
from orchestrator.webhooks.redaction import redact_echo
from orchestrator.webhooks.signing import signed_headers
from tests.webhooks.attempts import SECRET

SLASHED = "whsec_Ov7zRJSqv3pL7K6vfplqhw8YST2/suL4ChhHJCnptuM="
SENDING = Sending(
    "https://h.example/x?a=1&token=canary%2Fcanary&plain=can/ary",
    "evt_1",
    datetime(2026, 11, 24, tzinfo=UTC),
    b"{}",
    (SLASHED, SECRET),
)
HEADERS = signed_headers(SENDING.secrets, SENDING.message_id, SENDING.at, SENDING.body)


def kept(answer: str) -> str:
    return redact_echo(answer, SENDING, HEADERS)


@pytest.mark.parametrize(
    "said",
    [
        '{"key":"canary\\/canary"}',
        '{"key":"canary\\u002fcanary"}',
        "no key canary%2fcanary",
        "no key canary%2Fcanary or canary/canary",
        "/x?a=1&amp;token=canary%2fcanary&amp;plain=can/ary",
        '{"url":"https:\\/\\/h.example\\/x?a=1&token=canary%2Fcanary&plain=can\\/ary"}',
        "no key can&#x2F;ary, can%2Fary",
    ],
)
def test_a_token_is_found_in_every_spelling(said: str) -> None:
    answer = kept(f"before {said} after")
    assert "canary" not in answer.replace("\\", "").lower()
    assert "ary" not in answer.replace("[redacted]", "")
    assert answer.startswith("before ")


@pytest.mark.parametrize("secret", [SLASHED, SLASHED.removeprefix("whsec_"), SECRET.removeprefix("whsec_")])
@pytest.mark.parametrize("write", [str, lambda text: text.replace("/", "\\/"), lambda text: text.replace("/", "%2f")])
def test_the_secret_is_struck_out_without_its_prefix_too(secret: str, write: object) -> None:
    assert callable(write)
    answer = kept(f"bad secret {write(secret)}!")
    assert not [secret[n : n + 8] for n in range(6, len(secret) - 8) if secret[n : n + 8] in answer]
    assert answer.endswith("[redacted]!")


def test_another_secret_is_struck_out_with_its_escapes() -> None:
    """One that is not ours, or no longer: by its prefix."""
    assert kept("it was whsec_abcd\\/efgh%2Fijkl%3d.") == "it was whsec_[redacted]."


def test_the_requests_signatures_are_struck_out() -> None:
    """Together with the body, which is no secret, they would be a message that verifies."""
    signatures = [part.removeprefix("v1,") for part in HEADERS["webhook-signature"].split(" ")]
    answer = kept(f"bad signature {HEADERS['webhook-signature']} / {signatures[0].replace('/', chr(92) + '/')}")
    assert not [signature for signature in signatures if signature[:10] in answer or signature[-10:] in answer]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Authorization: Bearer c4n4ry\nHost: h", "Authorization: Bearer [redacted]\nHost: h"),
        ('{"authorization": "Basic c4n4ry=="}', '{"authorization": "Basic [redacted]"}'),
        ('{"Authorization":["Bearer c4n4ry"]}', '{"Authorization":["Bearer [redacted]"]}'),
        ('{\\"Authorization\\":\\"c4n4ry\\"}', '{\\"Authorization\\":\\"[redacted]\\"}'),
        ("got bearer c4n4ryc4n4ryc4n4ry, no", "got bearer [redacted], no"),
        ("Proxy-Authorization=Token c4n4ry", "Proxy-Authorization=Token [redacted]"),
        ("a Bearer token is needed; authorization is required", None),
    ],
)
def test_credentials_of_echoed_headers_are_struck_out(said: str, answer: str | None) -> None:
    assert kept(said) == (said if answer is None else answer)


SURROUNDING = st.text(alphabet="xyHTPSWe_ 0:/?", max_size=12)
ECHOES = (
    "http://h/?key=canary",
    "HTTPS:\\/\\/h/?k=canary",
    "whsec_canary",
    "WHSEC_canary",
    "Authorization: Basic canary",
    "bearer canarycanarycanary",
)


@pytest.mark.parametrize("echo", ECHOES)
@given(before=SURROUNDING, after=SURROUNDING)
def test_links_secrets_and_credentials_are_struck_out_whatever_surrounds_them(
    echo: str, before: str, after: str
) -> None:
    """Each alone too: the quick look for their beginnings knows them all."""
    assert "canary" not in kept(f"{before} {echo} {after}")


@pytest.mark.parametrize("said", ["?q=7", "q=7", "%71=7", "no q&#x3D;7"])
def test_a_short_query_is_struck_out_of_a_short_answer(said: str) -> None:
    short = Sending("https://h.example/x?q=7", "evt_1", SENDING.at, b"{}", (SECRET,))
    assert "q=7" not in redact_echo(said, short, HEADERS).replace("%71", "q").replace("&#x3D;", "=")


def test_a_signature_alone_is_struck_out() -> None:
    """An answer that is just as long as one."""
    signature = HEADERS["webhook-signature"].split(" ")[0].removeprefix("v1,")
    assert kept(signature) == "[redacted]"


def test_an_answer_without_secrets_is_kept_as_it_came() -> None:
    said = '{"at":"100%25","path":"\\/a\\/b","html":"&amp;"}'
    assert kept(said) == said
