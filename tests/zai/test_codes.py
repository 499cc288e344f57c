"""Every business code of zai-api.md 9.4, and every way of saying it, has its class (design section 7; A11, A14-A17)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.advice import Source, Then
from orchestrator.domain.errors import Account, Gone, Permanent, StepError, Throttled, Transient, Uncertain
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.wiring import error_catalogue
from orchestrator.zai.codes import CODES
from orchestrator.zai.errors import QUOTA_PAUSE, ErrorAnswer, find_reset, poll_error
from orchestrator.zai.wire import read_error
from tests.zai.loopback import NOW, make_provider

REFUSED_NOW = ["1302", "1303", "1305"]
REFUSED_UNTIL = ["1304", "1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321"]
ACCOUNT = ["1000", "1001", "1002", "1003", "1004", "1005", "1110", "1111", "1112", "1113", "1121"]
ACCOUNT += ["1309", "1311", "1313", "1314", "1315"]
REJECTED = ["1210", "1211", "1212", "1213", "1214", "1215", "1220", "1221", "1222", "1261", "1300", "1301"]
UNKNOWN = ["500", "1100", "1120", "1200", "1230", "1231", "1234", "1701", "1702", "1703"]
CLASSES: list[tuple[str, type[StepError]]] = [
    *((code, Throttled) for code in REFUSED_NOW + REFUSED_UNTIL),
    *((code, Account) for code in ACCOUNT),
    *((code, Permanent) for code in REJECTED),
    *((code, Uncertain) for code in UNKNOWN),
]
THEN = {Throttled: Then.PAUSED, Account: Then.PAUSED, Permanent: Then.FAILED, Uncertain: Then.HELD}
PROVIDER = make_provider("http://127.0.0.1:9/")


def submit_error_of(body: object, http_status: int) -> StepError:
    """What interpret raises for an answer to a paid call; the same for every kind."""
    text = body if isinstance(body, str) else json.dumps(body)
    evidence = CallEvidence(Moment.ANSWERED, NOW, NOW, http_status, text)
    raised = []
    for kind in PROVIDER.kinds:
        with pytest.raises(StepError) as caught:
            PROVIDER.interpret(kind, evidence)
        assert caught.value.evidence == evidence
        raised.append(caught.value)
    assert len({(type(error), error.code) for error in raised}) == 1
    return raised[0]


def test_the_tables_name_the_same_codes() -> None:
    """A code added to one must be added to the other."""
    assert sorted(CODES) == sorted(code for code, _ in CLASSES)


def test_every_code_is_explained_as_it_is_treated() -> None:
    """9.4 against `errors list`: what it says happens next is what the class of the code brings about."""
    rows = {entry.code: entry for entry in error_catalogue() if entry.source is Source.PROVIDER}
    assert {code: rows[code].then for code, _ in CLASSES} == {code: THEN[kind] for code, kind in CLASSES}


@pytest.mark.parametrize("http_status", [200, 400, 429, 500, 502])
@pytest.mark.parametrize(("code", "wanted"), CLASSES)
def test_the_business_code_decides_whatever_the_http_status(
    code: str, wanted: type[StepError], http_status: int
) -> None:
    """9.4 after a paid POST; a code known as refused before work is believed under a 5xx too (A11)."""
    error = submit_error_of({"error": {"code": code, "message": "so"}}, http_status)
    assert (type(error), error.code, error.message) == (wanted, code, "so")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "1302", "message": "m"}},
        {"error": {"code": 1302, "message": "m"}},
        {"error": {"code": " 1302 ", "msg": "m"}},
        {"code": 1302, "message": "m"},
        {"code": "1302", "msg": "m"},
    ],
)
def test_every_spelling_of_an_error_body_is_read(body: dict[str, object]) -> None:
    """9.1: digits as a string, as a number, and the top-level schema."""
    assert read_error(body) == ErrorAnswer("1302", "m")


@pytest.mark.parametrize("code", [None, True, 1.5, [], {}, "", "abc", "-1", "1302x", "9" * 40, 10**40])
def test_what_is_no_code_is_not_taken_for_one(code: object) -> None:
    """And never crashes."""
    assert read_error({"error": {"code": code, "message": "m"}}) == ErrorAnswer(None, "m")


@pytest.mark.parametrize(
    ("http_status", "body", "wanted", "code"),
    [
        (401, "", Account, "http_401"),
        (401, "<html>", Account, "http_401"),
        (403, {"error": {"message": "no"}}, Account, "http_403"),
        (434, {}, Account, "http_434"),
        (401, {"error": {"code": "9999"}}, Account, "9999"),
        (429, {"error": {"code": "1399", "message": "new"}}, Throttled, "1399"),
        (429, {"error": {"code": "1199", "message": "new"}}, Account, "1199"),
        (400, {"error": {"code": "1399"}}, Uncertain, "1399"),
        (400, {"error": {"code": "1199"}}, Uncertain, "1199"),
        (429, {"error": {"code": "1999"}}, Uncertain, "1999"),
        (429, "slow down", Uncertain, "http_429"),
        (400, {}, Uncertain, "http_400"),
        (404, "<html>", Uncertain, "http_404"),
        (435, {"error": {"message": "too large"}}, Uncertain, "http_435"),
        (500, "", Uncertain, "http_500"),
        (502, "<html>Bad Gateway</html>", Uncertain, "http_502"),
        (503, {"error": {"code": "4711"}}, Uncertain, "4711"),
        (529, {"error": "overloaded"}, Uncertain, "http_529"),
        (302, "", Uncertain, "http_302"),
        (500, {"id": "x", "task_status": "PROCESSING"}, Uncertain, "http_500"),
    ],
)
def test_answers_without_a_known_code(http_status: int, body: object, wanted: type[StepError], code: str) -> None:
    """Unlisted 13xx and 11xx under 429, account statuses, and everything else: unknown."""
    error = submit_error_of(body, http_status)
    assert (type(error), error.code) == (wanted, code)


# -- polls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "submit_class"), CLASSES)
def test_a_poll_error_never_harms_the_job(code: str, submit_class: type[StepError]) -> None:
    """D2, D4: later again; throttles and account codes pause; the codes of an unknown id are Gone."""
    error = poll_error(ErrorAnswer(code, "m"), 400, is_readable=True, now=NOW)
    wanted = submit_class if submit_class in (Throttled, Account) else Transient
    assert type(error) is (Gone if code in ("1214", "1222") else wanted)


@pytest.mark.parametrize(
    ("http_status", "is_readable", "wanted"),
    [
        (404, True, Gone),
        (410, True, Gone),
        (404, False, Transient),
        (401, False, Account),
        (434, True, Account),
        (429, False, Transient),
        (500, True, Transient),
        (502, False, Transient),
        (301, False, Transient),
    ],
)
def test_poll_statuses_without_a_code(http_status: int, is_readable: bool, wanted: type[StepError]) -> None:
    """A 404 is the provider's word about the task only when the API itself said it: a gateway's page is not."""
    assert type(poll_error(None, http_status, is_readable=is_readable, now=NOW)) is wanted


# -- reset times ---------------------------------------------------------------------------------------------------


def test_a_named_reset_becomes_the_end_of_the_pause() -> None:
    """1308 names its reset in Beijing time; without one the quota is left alone for a while."""
    named = submit_error_of({"error": {"code": "1308", "message": "Your limit will reset at 2026-11-22 22:35:41"}}, 429)
    assert (named.until, named.retry_after) == (datetime(2026, 11, 22, 14, 35, 41, tzinfo=UTC), None)
    unnamed = submit_error_of({"error": {"code": "1310", "message": "weekly limit"}}, 429)
    assert (unnamed.until, unnamed.retry_after) == (None, QUOTA_PAUSE)
    rate = submit_error_of({"error": {"code": "1302", "message": "reset at 2026-11-22 22:35:41"}}, 429)
    assert (rate.until, rate.retry_after) == (None, None)


@pytest.mark.parametrize(
    ("message", "reset"),
    [
        ("reset at 2026-11-23 00:00", datetime(2026, 11, 22, 16, 0, tzinfo=UTC)),
        ("将在 2026-11-23 00:00:00 重置", datetime(2026, 11, 22, 16, 0, tzinfo=UTC)),
        ("reset at 2026-11-23T00:00:00Z", datetime(2026, 11, 23, tzinfo=UTC)),
        ("reset at 2026-11-23 00:00:00+0800", datetime(2026, 11, 22, 16, 0, tzinfo=UTC)),
        ("reset at 2026-11-23 00:00:00-05:00", datetime(2026, 11, 23, 5, 0, tzinfo=UTC)),
        ("reset at 2026-11-22 19:00:00", None),  # past
        ("reset at 2027-11-22 20:00:00", None),  # a year ahead
        ("reset at 2026-13-45 99:99:99", None),
        ("reset at 2026-11-23 00:00:00+99:99", None),
        ("reset at noon", None),
        ("", None),
        (None, None),
    ],
)
def test_reset_times_are_read_carefully(message: str | None, reset: datetime | None) -> None:
    """A misread date must not pause a model for a year."""
    assert find_reset(message, NOW) == reset
    assert timedelta(0) < QUOTA_PAUSE
