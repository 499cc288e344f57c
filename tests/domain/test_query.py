"""One grammar of queries: what it means, and errors that point at the character."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.query import (
    FIELDS,
    MAX_TERMS,
    CostRange,
    Filter,
    Match,
    QueryError,
    TagMatch,
    Term,
    TimeRange,
    Words,
    parse_query,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
DAY = datetime(2026, 11, 1, tzinfo=UTC)

GOOD: list[tuple[str, list[Term]]] = [
    ("", []),
    ("  ", []),
    ("kite", [Words("kite")]),
    ('red "blue kite"', [Words("red"), Words("blue kite")]),
    (r'"a \"b\" \\ \n"', [Words(r'a "b" \ \n')]),
    ("-kite", [Words("kite", is_negated=True)]),
    ('-"red kite"', [Words("red kite", is_negated=True)]),
    ("a-b-c", [Words("a-b-c")]),
    ('"a b c"', [Words("a b c")]),
    ("дом", [Words("дом")]),
    ("well-known", [Words("well-known")]),
    ('"status:failed"', [Words("status:failed")]),
    ("12:30", [Words("12:30")]),
    ("status:failed", [Match("status", ("failed",))]),
    ("STATUS:failed", [Match("status", ("failed",))]),
    ("-status:failed,cancelled", [Match("status", ("failed", "cancelled"), is_negated=True)]),
    ("status:active", [Match("status", ("archiving", "processing", "queued", "submitting"))]),
    ("status:final,failed", [Match("status", ("cancelled", "failed", "succeeded"))]),
    ("model:cogvideox-3 kind:video", [Match("model", ("cogvideox-3",)), Match("kind", ("video",))]),
    ("custom_id:a,b", [Match("custom_id", ("a,b",))]),
    ('custom_id:"scene 1"', [Match("custom_id", ("scene 1",))]),
    ("code:1301,content_policy", [Match("code", ("1301", "content_policy"))]),
    ("tag:campaign=spring", [TagMatch("campaign", "spring")]),
    ("-tag:campaign", [TagMatch("campaign", None, is_negated=True)]),
    ('tag:a="x=y z"', [TagMatch("a", "x=y z")]),
    ("tag:a=", [TagMatch("a", "")]),
    ("created:>7d", [TimeRange("created", NOW - timedelta(days=7) + INSTANT, None)]),
    ("created:>=2w", [TimeRange("created", NOW - timedelta(weeks=2), None)]),
    ("finished:<12h", [TimeRange("finished", None, NOW - timedelta(hours=12))]),
    ("submitted:<=30m", [TimeRange("submitted", None, NOW - timedelta(minutes=30) + INSTANT)]),
    ("created:2026-11-01", [TimeRange("created", DAY, DAY + timedelta(days=1))]),
    ("created:>2026-11-01", [TimeRange("created", DAY + timedelta(days=1), None)]),
    ("created:<2026-11-01", [TimeRange("created", None, DAY)]),
    ("created:2026-11-01..2026-11-02", [TimeRange("created", DAY, DAY + timedelta(days=2))]),
    ("created:7d..1d", [TimeRange("created", NOW - timedelta(days=7), NOW - timedelta(days=1) + INSTANT)]),
    ("created:>=2026-11-01T02:00:00+02:00", [TimeRange("created", DAY, None)]),
    ("cost:>0.5", [CostRange(500_001, None)]),
    ("cost:>=0.5", [CostRange(500_000, None)]),
    ("cost:<1", [CostRange(None, 999_999)]),
    ("-cost:0", [CostRange(0, 0, is_negated=True)]),
    ("cost:0.1..0.000001", [CostRange(100_000, 1)]),
]


@pytest.mark.parametrize(("text", "terms"), GOOD, ids=[text for text, _ in GOOD])
def test_a_query_means_what_it_says(text: str, terms: list[Term]) -> None:
    """Surfaces section 1: fields, negation, phrases, ranges; money and times as integers and half-open intervals."""
    assert parse_query(text, now=NOW) == Filter(tuple(terms))


BAD = [
    ("status:fail", 7, "did you mean failed?"),
    ("status:failed,x", 14, "values are"),
    ("kite statsu:failed", 5, "did you mean status:?"),
    ("http://example.com", 0, "put text with a colon in quotes"),
    ('red "kite', 4, "end the phrase"),
    ('""', 0, None),
    ("status:", 7, None),
    ("status:,", 7, None),
    ("tag:=x", 4, "tag:name"),
    ("cost:cheap", 5, "cost:>0.5"),
    ("cost:-1", 5, "cost:>0.5"),
    ("cost:0.0000001", 5, "cost:>0.5"),
    ("cost:\u0661", 5, "cost:>0.5"),
    ("created:7d", 8, "write created:>7d"),
    ("created:>7", 9, "an age"),
    ("created:>soon", 9, "an age"),
    ("created:>2026-11-01T12:00:00", 9, "with its zone"),
    ("created:>99999w", 9, "an age"),
    ("created:9999-12-31", 8, "an age"),
    ("created:1d..", 12, "an age"),
    ("created:2026-11-01..junk", 20, "an age"),
    ("status:failed,fail", 14, "did you mean failed?"),
    ('status:"failed",faild', 16, "did you mean failed?"),
    ("cost:>cheap", 6, "cost:>0.5"),
    ("cost:0.1..dear", 10, "cost:>0.5"),
    ("-", 0, "3 letters or digits"),
    ("kite ab", 5, "3 letters or digits"),
    ("kite -ab", 6, "3 letters or digits"),
    ("100 1% %%%", 4, "3 letters or digits"),
    ("a \0", 2, None),
    ("a\ud800", 1, None),
    ("x" * 2_001, 2_000, None),
    ("x " * (MAX_TERMS + 1), 2 * MAX_TERMS, None),
]


@pytest.mark.parametrize(("text", "position", "hint"), BAD, ids=[f"{text[:30]!a}" for text, _, _ in BAD])
def test_an_error_points_at_the_character_and_says_what_is_allowed(text: str, position: int, hint: str | None) -> None:
    """A caller's mistake (400), told with its place."""
    with pytest.raises(QueryError) as caught:
        parse_query(text, now=NOW)
    assert caught.value.position == position
    assert f"at character {position + 1}" in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_kinds_are_checked_where_they_are_known() -> None:
    """The domain knows no kind by itself."""
    assert parse_query("kind:vidoe", now=NOW).terms
    with pytest.raises(QueryError, match="no value vidoe"):
        parse_query("kind:vidoe", now=NOW, kinds=["image", "video"])


@given(
    st.text(max_size=60) | st.lists(st.sampled_from([*FIELDS, ":", ">", "..", '"', "-", " ", "7d", "="])).map("".join)
)
def test_any_text_is_a_filter_or_a_query_error(text: str) -> None:
    """Never a crash; the position lies in the text."""
    assert 0 <= position_of_error(text) <= len(text)


def position_of_error(text: str) -> int:
    try:
        parse_query(text, now=NOW)
    except QueryError as error:
        return error.position
    return 0
