"""Wrong keys at the login are bounded, by address and in all, and the time to wait is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import FastAPI

from orchestrator.console.attempts import MOST_IN_ALL, MOST_OF_ONE, LoginAttempts
from tests.console.conftest import Console
from tests.fixtures.clock import FakeClock

WRONG = f"ok_{'0' * 16}_{'A' * 43}"


def use_up(attempts: LoginAttempts, address: str, count: int = MOST_OF_ONE) -> None:
    assert [attempts.begin(address) for _ in range(count)] == [None] * count


def test_an_address_may_be_wrong_ten_times_a_minute() -> None:
    """The eleventh is told how long to wait, the next address is not its business, and the minute ends it."""
    clock = FakeClock()
    attempts = LoginAttempts(clock)
    use_up(attempts, "192.0.2.1")
    clock.advance(timedelta(seconds=20))
    assert attempts.begin("192.0.2.1") == 40
    assert attempts.begin("192.0.2.2") is None
    clock.advance(timedelta(seconds=40))
    use_up(attempts, "192.0.2.1")
    assert attempts.begin("192.0.2.1") == 60


def test_all_addresses_together_are_bounded() -> None:
    """Who has many addresses causes no more work than that, and no more is remembered."""
    clock = FakeClock()
    attempts = LoginAttempts(clock)
    for number in range(MOST_IN_ALL):
        assert attempts.begin(f"192.0.2.{number}") is None
    assert attempts.begin("198.51.100.1") == 60
    clock.advance(timedelta(seconds=60))
    assert attempts.begin("198.51.100.1") is None


def test_a_right_key_clears_its_address_and_no_other() -> None:
    """People mistype."""
    attempts = LoginAttempts(FakeClock())
    use_up(attempts, "192.0.2.1")
    use_up(attempts, "192.0.2.2")
    attempts.forget("192.0.2.1")
    assert attempts.begin("192.0.2.1") is None
    assert attempts.begin("192.0.2.2") == 60


def test_a_network_of_ipv6_is_one_address() -> None:
    """One machine has more of them than anybody can count; IPv4 written as IPv6 is still its own."""
    attempts = LoginAttempts(FakeClock())
    use_up(attempts, "2001:db8::1")
    assert attempts.begin("2001:db8::ffff:1") == 60
    assert attempts.begin("2001:db8:0:1::1") is None
    use_up(attempts, "::ffff:192.0.2.1")
    assert attempts.begin("::ffff:192.0.2.2") is None


def test_the_login_page_says_how_long_to_wait(console: Console) -> None:
    """429 with Retry-After and words, until the minute is over."""
    clock = set_clock(console)
    stranger = console.stranger()
    assert {stranger.log_in(WRONG).status_code for _ in range(MOST_OF_ONE)} == {401}
    refused = stranger.log_in(WRONG)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert "Try again in 60 s" in refused.text
    clock.advance(timedelta(seconds=60))
    assert stranger.log_in(WRONG).status_code == 401


def test_nobody_can_keep_others_out(console: Console) -> None:
    """Behind a proxy everybody has one address, and whoever has many can use up what is allowed in all."""
    set_clock(console)
    stranger, visitor, key = console.stranger(), console.stranger(), console.house.key()
    assert [stranger.log_in(WRONG).status_code for _ in range(MOST_OF_ONE + 1)][-1] == 429
    assert visitor.log_in(key).status_code == 303
    attempts = attempts_of(console)
    assert [attempts.begin(f"192.0.2.{number}") for number in range(MOST_IN_ALL + 1)][-1] == 60
    assert stranger.log_in(WRONG).status_code == 429
    assert visitor.log_in(key).status_code == 303


def set_clock(console: Console) -> FakeClock:
    """Let the console count by a clock of the test's."""
    clock = FakeClock()
    console_of(console).state.login_attempts = LoginAttempts(clock)
    return clock


def attempts_of(console: Console) -> LoginAttempts:
    attempts: LoginAttempts = console_of(console).state.login_attempts
    return attempts


def console_of(console: Console) -> FastAPI:
    mounted: Any = next(route for route in console.house.api.routes if getattr(route, "name", "") == "console")
    app: FastAPI = mounted.app
    return app


def test_right_keys_are_not_counted(console: Console) -> None:
    """Whoever logs in often is no stranger."""
    key = console.house.key()
    assert {console.stranger().log_in(key).status_code for _ in range(MOST_OF_ONE + 2)} == {303}
