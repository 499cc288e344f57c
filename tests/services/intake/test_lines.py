"""Bytes become the right physical lines with the right numbers, in constant memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.services.jobfile.lines import MAX_LINE_BYTES, split_lines
from tests.services.intake.desk import Desk, codes, image


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def numbered(data: bytes, size: int) -> list[tuple[int, bytes | None]]:
    return [(line.number, line.data) for line in split_lines(cut(data, size))]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_every_line_end_counts_once(size: int) -> None:
    """H4: byte-order mark, CR LF, LF, a lone CR, blank lines and no final newline."""
    data = b"\xef\xbb\xbfa\r\nb\nc\rd\n\n\r\ne\r\rf"
    lines = [b"a", b"b", b"c", b"d", b"", b"", b"e", b"", b"f"]
    assert numbered(data, size) == list(enumerate(lines, start=1))


def test_line_separators_of_unicode_end_no_line() -> None:
    """H4: U+2028, U+2029, U+0085 and form feeds may stand inside strings."""
    text = '{"a": "x\u2028y\u2029z\u0085w\x0c"}\nb'
    assert [line.number for line in split_lines([text.encode()])] == [1, 2]


@given(st.binary(max_size=200), st.integers(1, 9))
def test_no_bytes_are_lost_however_they_are_cut(data: bytes, size: int) -> None:
    """H4: what the pieces are does not matter; the lines joined again are the text."""
    whole = data.removeprefix(b"\xef\xbb\xbf")
    # A byte-order mark is dropped from the first line even where it stands alone.
    assert [line for _, line in numbered(data, size)] == whole.splitlines() or whole == b""


def test_a_line_over_the_cap_is_refused_and_the_rest_is_read(desk: Desk) -> None:
    """H3: 40 MB in one line; the faults of the lines behind it are still found."""
    path = desk.write(b"")
    with path.open("wb") as file:
        file.write(b'{"custom_id": "')
        for _ in range(40):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\r\n[]\r\n')
    checked = desk.check(path.read_bytes())
    assert codes(checked.faults) == [(1, None, "line_too_long", None), (2, 1, "not_an_object", None)]


@pytest.mark.parametrize(("extra", "is_refused"), [(0, False), (1, True)])
def test_the_cap_is_to_the_byte(extra: int, is_refused: bool) -> None:
    """H3: the line's end does not count."""
    lines = numbered(b"x" * (MAX_LINE_BYTES + extra) + b"\r\nb", 70_000)
    assert [line is None for _, line in lines] == [is_refused, False]


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ('{"custom_id": "a"}'.encode("utf-16"), "save it as UTF-8"),
        ('{"custom_id": "a"}'.encode("utf-16-le"), "save it as UTF-8"),
        ('{"custom_id": "a"}'.encode("utf-16-be"), "save it as UTF-8"),
        ('{"custom_id": "a"}'.encode("utf-32"), "save it as UTF-8"),
        (b"\x1f\x8b\x08\x00rest", "unpack it first"),
        (b"PK\x03\x04rest", "unpack it first"),
    ],
)
def test_a_file_that_is_no_utf8_text_is_refused_whole(desk: Desk, data: bytes, hint: str) -> None:
    """H5, H10: one fault with a hint, not one for each line."""
    checked = desk.check(data)
    assert codes(checked.faults) == [(1, 1, "invalid_encoding", None)]
    assert checked.faults[0].hint == hint


@pytest.mark.parametrize(
    ("line", "column"),
    [(b'{"a": "\xff"}', 8), (b'{"a": "caf\xe9"}', 11), (b'{"a": "\xc3\xa9\x00"}', 9), (b"\xed\xa0\x80", 1)],
)
def test_bytes_that_are_no_utf8_are_a_fault_of_their_line(desk: Desk, line: bytes, column: int) -> None:
    """H5: invalid UTF-8, Latin-1, NUL and encoded surrogates: the line and column, the other lines read on."""
    checked = desk.check(b"# first\n" + line + b"\n[]\n")
    assert codes(checked.faults) == [(2, column, "invalid_encoding", None), (3, 1, "not_an_object", None)]


def test_blank_lines_and_comments_are_no_jobs(desk: Desk) -> None:
    """H4: they count as lines, not as jobs."""
    checked = desk.check(["", "  # a comment", image("a"), "\t", image("a")])
    assert (checked.line_count, codes(checked.faults)) == (2, [(5, 15, "duplicate_custom_id", "custom_id")])


@pytest.mark.parametrize("data", [b"", b"\n\n# only this\n", b"\xef\xbb\xbf"])
def test_a_file_without_jobs_is_a_fault(desk: Desk, data: bytes) -> None:
    """H4: nothing to run is said, not passed over."""
    assert codes(desk.check(data).faults) == [(1, None, "empty_file", None)]


MEMORY = """
import json, resource, sys
from pathlib import Path
from tests.services.intake.desk import KINDS, SANDBOX, image
from orchestrator.services.intake import check_file

def peak(path, count):
    with path.open("w") as file:
        for number in range(count):
            body = {"model": "cogview-4", "prompt": "x" * 1000}
            file.write(json.dumps(image(f"{number:0128}", body=body)) + "\\n")
    checked = check_file(path, KINDS, options=SANDBOX)
    assert (checked.line_count, checked.fault_count) == (count, 0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

path = Path(sys.argv[1])
small = peak(path, 1_000)
print(small, peak(path, 50_000))
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """H1: the largest file allowed costs less than 50 MB more than a small one, with ids as long as they may be."""
    script = tmp_path / "memory.py"
    script.write_text(MEMORY)
    root = Path(__file__).parents[3]
    found = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "jobs.jsonl")],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = (int(word) * (1 if sys.platform == "darwin" else 1024) for word in found.stdout.split())
    assert large - small < 50_000_000


def test_too_many_jobs_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces section 3: the cap names the line where it is passed."""
    monkeypatch.setattr("orchestrator.services.jobfile.check.MAX_LINES", 2)
    assert codes(desk.check([image("a"), "", image("b"), image("c")]).faults) == [(4, None, "too_many_lines", None)]


def test_a_file_too_large_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces section 3: 200 MB."""
    monkeypatch.setattr("orchestrator.services.jobfile.entries.MAX_FILE_BYTES", 10)
    assert codes(desk.check([image("a")]).faults) == [(1, None, "file_too_large", None)]
