"""Signatures verify with the stock `standardwebhooks` package, and what is signed is what is sent."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from orchestrator.domain.errors import RequestError
from orchestrator.webhooks import decode_secret, encode_secret, make_secret, sign, signed_headers, verify

KEY = bytes(range(32))
SECRET = encode_secret(KEY)
OTHER = encode_secret(bytes(range(1, 33)))
SPECIMEN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret of the specification's own example."""
AT = datetime(2026, 11, 24, 12, 0, 0, 999_999, tzinfo=UTC)


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


@given(st.binary(min_size=24, max_size=64), st.text(max_size=200), st.text("abcdef0123456789_", min_size=1))
def test_the_stock_package_verifies_any_text(key: bytes, text: str, message_id: str) -> None:
    body = json.dumps({"data": text}, ensure_ascii=False).encode("utf-8", errors="replace")
    headers = signed_headers([encode_secret(key)], message_id, now(), body)
    assert Webhook(encode_secret(key)).verify(body, headers) == json.loads(body)


def test_the_specifications_example() -> None:
    """The vector that the specification's libraries are tested with."""
    body = b'{"test": 2432232314}'
    signature = sign(decode_secret(SPECIMEN), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


GOLDEN = {
    '{"data":"line\u2028separator"}': "v1,rIVnfjgV8hoqWIUsI9+83SOqEVTJIdGHrBtmbvj5Jto=",
    '{"data":"\U0001f99c kite"}': "v1,vH7+HJGiB4rlfxaz6Cg1VE0BlzKNXS/CxVUYP5ncIV4=",
    '{"data":"</script><!--"}': "v1,iTpKoyrBN08s2WjaHGSN0cOi5QliYxZz4kr5itZ9mmw=",
    '{"data":"\\u2028 \\ud83e\\udd9c"}': "v1,byZ0Cfu7yPYSKHk2TQBtzm/0qfE2vUBq2bRkBUglulw=",
}
"""Body to its signature by SECRET for evt_1 at AT, made by the stock package."""


@pytest.mark.parametrize(("text", "signature"), GOLDEN.items())
def test_golden_vectors(text: str, signature: str) -> None:
    """F15: U+2028, emoji and </script>, raw and escaped: the signature is of the bytes, and no writer changes them."""
    body = text.encode()
    headers = signed_headers([SECRET], "evt_1", AT, body)
    assert headers == {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1795521600",
        "webhook-signature": signature,
    }
    assert Webhook(SECRET).sign("evt_1", AT, text) == signature


def test_both_secrets_sign_while_rotating() -> None:
    """Whichever of the two the receiver has, it accepts; a third is not accepted."""
    headers = signed_headers([SECRET, OTHER], "evt_1", now(), b"{}")
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(b"{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook(SPECIMEN).verify(b"{}", headers)


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(RequestError):
        signed_headers([], "evt_1", AT, b"{}")


def test_a_new_secret_is_32_bytes_of_chance() -> None:
    assert decode_secret(make_secret(KEY)) == KEY
    with pytest.raises(ValueError, match="32"):
        make_secret(b"short")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "c4n4ry",
        base64.b64encode(KEY).decode(),
        "whsec_c4n4ry!",
        "whsec_" + "A" * 33,
        encode_secret(bytes(23)),
        encode_secret(bytes(65)),
        "whsec_c4n4ry\u00e9",
    ],
)
def test_what_is_no_secret_is_refused_without_being_repeated(text: str) -> None:
    """Promise 13: what looks like a secret and is none may still be somebody's."""
    with pytest.raises(RequestError) as caught:
        decode_secret(text)
    assert "c4n4ry" not in f"{caught.value} {caught.value.hint}"


class TestVerify:
    """The checking side of our own local receiver agrees with the stock package's signatures."""

    BODY = b'{"type":"webhook.test"}'

    def headers(self, **changed: str) -> dict[str, str]:
        signature = Webhook(SECRET).sign("evt_1", AT, self.BODY.decode())
        good = {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(int(AT.timestamp())),
            "webhook-signature": f"v1a,AAAA {Webhook(OTHER).sign('evt_1', AT, self.BODY.decode())} {signature}",
        }
        return {**good, **{name.replace("_", "-"): value for name, value in changed.items()}}

    def test_a_good_one_of_several_signatures_is_enough(self) -> None:
        assert verify(SECRET, self.headers(), self.BODY, now=AT) is None

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"webhook_id": "evt_2"}, "no signature fits"),
            ({"webhook_id": ""}, "no header webhook-id"),
            ({"webhook_signature": "v2,AAAA"}, "no signature fits"),
            ({"webhook_signature": "\u00e9"}, "no signature fits"),
            ({"webhook_timestamp": "soon"}, "no number"),
            ({"webhook_timestamp": "9" * 99}, "no number"),
            ({"webhook_timestamp": "1795521601"}, "no signature fits"),
        ],
    )
    def test_what_was_changed_is_refused(self, changed: dict[str, str], words: str) -> None:
        assert words in (verify(SECRET, self.headers(**changed), self.BODY, now=AT) or "")

    @pytest.mark.parametrize("away", [timedelta(minutes=6), timedelta(minutes=-6)])
    def test_an_old_message_is_refused(self, away: timedelta) -> None:
        assert "5 minutes" in (verify(SECRET, self.headers(), self.BODY, now=AT + away) or "")

    def test_another_body_or_secret_is_refused(self) -> None:
        assert verify(SECRET, self.headers(), self.BODY + b" ", now=AT)
        assert verify(SPECIMEN, self.headers(), self.BODY, now=AT)
