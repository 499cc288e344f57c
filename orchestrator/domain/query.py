"""The history query grammar (surfaces section 1): text -> a frozen Filter, once, for command line, API and console.

    status:failed model:cogvideox-3 tag:campaign=spring created:>7d cost:>0.5 -code:content_policy "red kite"

Pure: relative times count from the `now` passed in. The database turns a Filter into SQL; nothing else reads the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches

from orchestrator.domain.errors import RequestError
from orchestrator.domain.states import ACTIVE, FINAL, State

MAX_LENGTH = 2_000  # a query sits in a URL of the console
MAX_TERMS = 50  # each is a condition of one SQL statement
LEAST_LETTERS = 3  # the indexes hold trigrams: fewer would read every prompt (two took 6 s among 5 million)

NARROW = "narrow it: created:>7d, a batch, or a longer word; `orchestrator db check` says if an index is missing"

TEXT_FIELDS = ("status", "kind", "model", "batch", "custom_id", "code", "id", "task")
TIME_FIELDS = ("created", "submitted", "finished")
FIELDS = (*TEXT_FIELDS, "tag", *TIME_FIELDS, "cost")

_GROUPS = {"active": ACTIVE, "final": FINAL}
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AGE = re.compile(r"([0-9]{1,4})([mhdw])")
_MONEY = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?")
_FIELD = re.compile(r"[A-Za-z_]+(?=:)")
_INSTANT = timedelta(microseconds=1)  # times are kept in microseconds: "after t" is "from t + 1 us"


@dataclass(frozen=True)
class Match:
    """`field` (one of TEXT_FIELDS) equals one of `values`, exactly. `code` looks at failure and provider codes."""

    field: str
    values: tuple[str, ...]
    is_negated: bool = False


@dataclass(frozen=True)
class TagMatch:
    """The job has the tag `name`, with this value unless `value` is None."""

    name: str
    value: str | None
    is_negated: bool = False


@dataclass(frozen=True)
class TimeRange:
    """`field` (one of TIME_FIELDS) lies in [start, end); None is open. A job without that time does not match."""

    field: str
    start: datetime | None
    end: datetime | None
    is_negated: bool = False


@dataclass(frozen=True)
class CostRange:
    """The cost (final, else estimate) in micro-units lies in [least, most], both included; None is open."""

    least: int | None
    most: int | None
    is_negated: bool = False


@dataclass(frozen=True)
class Words:
    """The prompt contains `text`, whatever the case."""

    text: str
    is_negated: bool = False


Term = Match | TagMatch | TimeRange | CostRange | Words


@dataclass(frozen=True)
class Filter:
    """Every term holds. No terms: every job."""

    terms: tuple[Term, ...] = ()


def within(wanted: Filter, owner: str | None) -> Filter:
    """Return the filter for what belongs to one owner; None: everybody's. It is no field of the grammar."""
    return wanted if owner is None else Filter((Match("owner", (owner,)), *wanted.terms))


class QueryError(RequestError):
    """The query cannot be read. `position` is the 0-based character where it goes wrong."""

    code = "invalid_query"

    def __init__(self, message: str, *, position: int, hint: str | None = None) -> None:
        super().__init__(f"{message} (at character {position + 1})", param="q", hint=hint)
        self.position = position


class QueryTooSlow(RequestError):
    """The query takes longer than anybody waits: it was stopped."""

    code = "query_too_slow"

    def __init__(self, patience: timedelta) -> None:
        super().__init__(f"the query was stopped after {patience.total_seconds():g} s", param="q", hint=NARROW)


def parse_query(text: str, *, now: datetime, kinds: Collection[str] = ()) -> Filter:
    """Return the filter that `text` means. Raises QueryError.

    Relative times mean the moment that long before `now`: `created:>7d` is the last seven days. With `kinds` given,
    `kind:` takes no other value.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the query is longer than {MAX_LENGTH} characters", position=MAX_LENGTH)
    bad = next((index for index, sign in enumerate(text) if sign == "\0" or "\ud800" <= sign <= "\udfff"), None)
    if bad is not None:
        raise QueryError("the query holds a character that is no text", position=bad)
    tokens = _split(text)
    if len(tokens) > MAX_TERMS:
        raise QueryError(f"more than {MAX_TERMS} terms", position=tokens[MAX_TERMS].position)
    return Filter(tuple(_read_term(token, now=now, kinds=kinds) for token in tokens))


def parse_moment(name: str, text: str, *, now: datetime) -> datetime:
    """Return when an age (7d), a day (its beginning) or a time with its zone is. Raises QueryError about `name`."""
    try:
        return _read_moment(_Token(name, text, is_negated=False, position=0, value_position=0), text, now)[0]
    except QueryError as error:
        error.param = name
        raise


@dataclass(frozen=True)
class _Token:
    """One term as written; `field` None for words."""

    field: str | None
    value: str
    is_negated: bool
    position: int
    value_position: int
    places: Sequence[int] = ()
    """Where in the query each character of `value` stands: quotes and backslashes are not among them."""

    def place(self, offset: int) -> int:
        """Return where in the query the part of the value stands that begins at `offset`."""
        return self.places[offset] if offset < len(self.places) else self.value_position + offset


def _split(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token, at = _read_token(text, at)
        tokens.append(token)
    return tokens


def _read_token(text: str, start: int) -> tuple[_Token, int]:
    is_negated = text[start] == "-" and start + 1 < len(text) and not text[start + 1].isspace()
    at = start + is_negated
    named = _FIELD.match(text, at)
    field = named.group() if named else None
    value_at = named.end() + 1 if named else at
    places, end = _read_value(text, value_at)
    return _Token(field, "".join(text[place] for place in places), is_negated, at, value_at, places), end


def _read_value(text: str, start: int) -> tuple[list[int], int]:
    """Return where the characters of a value stand, and its end. Read up to the next blank outside quotes; inside them a backslash keeps a quote or a backslash."""
    places: list[int] = []
    at, opened = start, None
    while at < len(text) and (opened is not None or not text[at].isspace()):
        sign = text[at]
        if sign == '"':
            opened = at if opened is None else None
        elif sign == "\\" and opened is not None and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
            places.append(at)
        else:
            places.append(at)
        at += 1
    if opened is not None:
        raise QueryError("this quote is never closed", position=opened, hint='end the phrase with "')
    return places, at


def _read_term(token: _Token, *, now: datetime, kinds: Collection[str]) -> Term:
    if token.field is None:
        if not token.value:
            raise QueryError("an empty phrase", position=token.position)
        _require_letters(token)
        return Words(token.value, token.is_negated)
    field = token.field.lower()
    if field not in FIELDS:
        raise _unknown_field(token)
    if not token.value:
        raise QueryError(f"{field}: needs a value", position=token.value_position)
    if field == "tag":
        return _read_tag(token)
    if field == "cost":
        return _read_cost(token)
    if field in TIME_FIELDS:
        return _read_time(token, field, now)
    return _read_match(token, field, kinds)


def _require_letters(token: _Token) -> None:
    if sum(sign.isalnum() for sign in token.value) < LEAST_LETTERS:
        raise QueryError(
            f"{token.value} has fewer than {LEAST_LETTERS} letters",
            position=token.position,
            hint=f"words are looked up by {LEAST_LETTERS} letters or digits at a time; put words beside it in quotes",
        )


def _unknown_field(token: _Token) -> QueryError:
    near = get_close_matches((token.field or "").lower(), FIELDS, n=1)
    guess = f"did you mean {near[0]}:? " if near else ""
    return QueryError(
        f"there is no field {token.field}:",
        position=token.position,
        hint=f"{guess}fields are {', '.join(FIELDS)}; put text with a colon in quotes",
    )


def _read_match(token: _Token, field: str, kinds: Collection[str]) -> Match:
    parts = _split_list(token.value) if field != "custom_id" else [(0, token.value)]
    if not parts:
        raise QueryError(f"{field}: needs a value", position=token.value_position)
    if field == "status":
        return Match(field, _read_states(token, parts), token.is_negated)
    if field == "kind" and kinds:
        for offset, value in parts:
            _require_known(token, value, sorted(kinds), offset)
    return Match(field, tuple(value for _, value in parts), token.is_negated)


def _split_list(text: str) -> list[tuple[int, str]]:
    """Return the parts between commas, each with where it begins."""
    return [(found.start(), found.group()) for found in re.finditer(r"[^,]+", text)]


def _read_states(token: _Token, parts: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    states: list[str] = []
    for offset, value in parts:
        _require_known(token, value, [*State, *_GROUPS], offset)
        states.extend(sorted(_GROUPS[value]) if value in _GROUPS else [value])
    return tuple(dict.fromkeys(str(state) for state in states))


def _require_known(token: _Token, value: str, allowed: Sequence[str], offset: int) -> None:
    if value in allowed:
        return
    near = get_close_matches(value, allowed, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise QueryError(
        f"{token.field}: has no value {value}",
        position=token.place(offset),
        hint=f"{guess}values are {', '.join(allowed)}",
    )


def _read_tag(token: _Token) -> TagMatch:
    name, equals, value = token.value.partition("=")
    if not name:
        raise QueryError("tag: needs a name", position=token.value_position, hint="write tag:name or tag:name=value")
    return TagMatch(name, value if equals else None, token.is_negated)


def _split_bound(token: _Token) -> tuple[str, str]:
    """Return (comparison, rest): one of > >= < <= or nothing."""
    mark = re.match(r">=|<=|>|<|", token.value)
    sign = mark.group() if mark else ""
    return sign, token.value[len(sign) :]


def _read_cost(token: _Token) -> CostRange:
    sign, rest = _split_bound(token)
    low, dots, high = rest.partition("..")
    if dots and not sign:
        behind = len(low) + len(dots)
        return CostRange(_read_money(token, low, 0), _read_money(token, high, behind), token.is_negated)
    micros = _read_money(token, rest, len(sign))
    least = {">": micros + 1, ">=": micros, "": micros}.get(sign)
    most = {"<": micros - 1, "<=": micros, "": micros}.get(sign)
    return CostRange(least, most, token.is_negated)


def _read_money(token: _Token, text: str, offset: int) -> int:
    found = _MONEY.fullmatch(text)
    if not found:
        raise QueryError(
            f"cost: cannot read {text or 'nothing'} as an amount",
            position=token.place(offset),
            hint="write cost:>0.5, cost:0.2 or cost:0.1..0.5",
        )
    whole, part = found.group(1), found.group(2) or ""
    return int(whole) * 1_000_000 + int(part.ljust(6, "0"))


def _read_time(token: _Token, field: str, now: datetime) -> TimeRange:
    sign, rest = _split_bound(token)
    low, dots, high = rest.partition("..")
    if dots and not sign:
        begin = _read_moment(token, low, now)[0]
        return TimeRange(field, begin, _read_moment(token, high, now, offset=len(low) + len(dots))[1], token.is_negated)
    first, after = _read_moment(token, rest, now, offset=len(sign))
    if not sign and after - first <= _INSTANT:
        raise QueryError(
            f"{field}: say before or after",
            position=token.value_position,
            hint=f"write {field}:>{rest} for later than that, {field}:<{rest} for earlier",
        )
    start = {">": after, ">=": first, "": first}.get(sign)
    end = {"<": first, "<=": after, "": after}.get(sign)
    return TimeRange(field, start, end, token.is_negated)


def _read_moment(token: _Token, text: str, now: datetime, *, offset: int = 0) -> tuple[datetime, datetime]:
    """Return [first, after) of what is named: a whole UTC day, or one instant. `offset`: where in the value it stands."""
    age = _AGE.fullmatch(text)
    try:
        if age:
            moment = now - int(age.group(1)) * _UNITS[age.group(2)]
            return moment, moment + _INSTANT
        if len(text) == len("2026-11-01"):
            day = datetime.combine(date.fromisoformat(text), time(), UTC)
            return day, day + timedelta(days=1)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
            return moment, moment + _INSTANT
    except (ValueError, OverflowError):
        pass
    raise QueryError(
        f"{token.field}: cannot read {text or 'nothing'} as a time",
        position=token.place(offset),
        hint="write an age (30m, 12h, 7d, 2w), a date (2026-11-01) or a time with its zone (2026-11-01T12:00:00Z)",
    )
