"""Every error class and code has a sentence of advice: codes are read from the source, not from memory."""

from __future__ import annotations

import re

import pytest

from orchestrator.domain import errors
from orchestrator.domain.advice import Source, Then
from orchestrator.domain.job import RESTORED_CODES
from orchestrator.domain.media.suspects import SUSPECT_CODES
from orchestrator.egress.fetch import CODES as FETCH_CODES
from orchestrator.egress.post import CODES as POST_CODES
from orchestrator.storage import s3_errors
from orchestrator.wiring import error_catalogue
from tests.repo.codes import our_trees, sample, sightings

FAILURES = [
    *("invalid_params", "content_policy", "provider_failed", "result_lost", "output_expired", "written_off"),
    *("dependency_failed", "input_missing", "input_changed", "internal_error"),
]
CATALOGUE = error_catalogue()


def test_every_code_in_the_source_has_advice() -> None:
    """A code that is raised and not in the catalogue fails here, with its file and line."""
    found = list(sightings(our_trees()))
    assert {one.where for one in found if one.code is None} == set()
    assert {f"{one.where} {one.code}" for one in found if one.code and not CATALOGUE.find_all(one.code)} == set()
    faults = {one.code for one in found if one.code and one.is_fault}
    assert {code for code in faults if not CATALOGUE.find(code, Source.REQUEST)} == set()
    codes = {one.code for one in found}
    assert codes >= {"answer_lost", "lease_lapsed", "store_denied", "spool_full", "dns_failed", "duplicate_key"}
    assert len(codes) > 100


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("raise Transient('a', 'words')", ["a"]),
        ("raise zai.Uncertain(code='a', message=m)", ["a"]),
        ("x = Permanent(A if b else 'c', m)\nA = 'a'", ["a", "c"]),
        ("def f(error):\n  code = 'a' if error else 'b'\n  raise Gone(code, m)", ["a", "b"]),
        ("def f(s):\n  code, m = f'http_{s}', 'm'\n  raise Gone(code, m)", ["http_500"]),
        ("T = {1: 'a', 2: 'b'}\nraise Account(T[k], m)", ["a", "b"]),
        ("raise Rejected(code or 'a', m)", ["a"]),
        ("raise Transient(error.code, m)", []),
        ("raise Transient(make_code(), m)", [None]),
        ("class Odd(RequestError):\n  code = 'a'", ["a"]),
        ("def describe_failure(e):\n  return ('a' if e else 'b'), 'words'", ["a", "b"]),
        ("OutputFailed(output.id, 'a', m)", ["a"]),
        ("failed(job, trigger, now, code='a', message=m)", ["a"]),
    ],
)
def test_codes_are_read_however_they_are_written(text: str, codes: list[str | None]) -> None:
    """The walk above sees what it is for, and says so where it cannot."""
    assert [one.code for one in sightings(sample(text))] == codes


def test_tables_of_codes_have_advice() -> None:
    """Codes that are looked up in tables, and those that surfaces section 2 promises."""
    codes = {
        *FAILURES,
        *SUSPECT_CODES,
        *RESTORED_CODES,
        *s3_errors.PERMANENT.values(),
        *s3_errors.TRANSIENT.values(),
        *(name for _, name, _ in FETCH_CODES),
        *(name for _, name, _ in POST_CODES),
        *("needs_review", "cancelled", "duplicate_task_id"),
    }
    assert {code for code in codes if not CATALOGUE.find_all(code)} == set()
    assert all(CATALOGUE.find_all(code)[0].then is Then.FAILED for code in FAILURES)


def test_every_class_of_error_has_advice() -> None:
    """By its code where it has one, else by its own name or a base's nearer than OrchestratorError."""
    waiting, bare = [errors.OrchestratorError], set()
    while waiting:
        current = waiting.pop()
        waiting += current.__subclasses__()
        names = [getattr(current, "code", None), *(base.__name__ for base in current.__mro__)]
        nearest = next((entry for name in names if (entry := CATALOGUE.find(name))), None)
        if nearest is None or (nearest.code == "OrchestratorError" and not is_a_root(current)):
            bare.add(current.__qualname__)
    assert bare == set()


def is_a_root(kind: type[Exception]) -> bool:
    """These are never raised themselves."""
    return kind in (errors.OrchestratorError, errors.StepError)


def test_every_row_says_what_to_do_in_one_sentence() -> None:
    """Short enough for a line, ends with a full stop, and nothing is advised twice under one name."""
    rows = list(CATALOGUE)
    assert len({(row.code, row.source) for row in rows}) == len(rows)
    for row in rows:
        assert row.advice.endswith("."), row
        assert 8 < len(row.advice) < 120, row
        assert re.fullmatch(r".+[^.]", row.meaning), row
        assert not re.search(r"[.?!] [A-Z]", row.advice), row


def test_families_hide_behind_listed_codes() -> None:
    """1302 is itself, 1399 a limit that nobody documented, 4711 a code like any other; a link and the provider differ."""
    assert [entry.code for entry in CATALOGUE.find_all("1302")] == ["1302"]
    assert [entry.code for entry in CATALOGUE.find_all("1399")] == ["13xx"]
    assert [entry.code for entry in CATALOGUE.find_all("4711")] == ["nnnn"]
    assert [entry.code for entry in CATALOGUE.find_all("http_502")] == ["http_xxx", *["http_5xx"] * 2]
    assert [entry.code for entry in CATALOGUE.find_all("http_5xx")] == ["http_5xx"] * 2
    assert [entry.code for entry in CATALOGUE.find_all("invalid_size")] == ["invalid_FIELD"]
    assert CATALOGUE.find_all("no such code") == []
