"""Job files in CSV mean what the same lines in JSONL mean, and say what is wrong where it stands (H9)."""

from __future__ import annotations

import pytest

from orchestrator.services.intake import CheckedFile, check_file, take_file
from tests.services.intake.desk import KINDS, SANDBOX, Desk, codes

HEAD = "custom_id,kind,model,prompt,size\n"
GOOD = "a,image,glm-image,a red kite,1280x1280\n"


def check(desk: Desk, text: str | bytes) -> CheckedFile:
    """Write and check a CSV file."""
    data = text if isinstance(text, bytes) else text.encode()
    return check_file(desk.write(data, "jobs.csv"), KINDS, options=SANDBOX)


def test_cells_become_the_values_that_their_fields_take(desk: Desk) -> None:
    """Surfaces section 3: numbers, booleans, lists and tags; an empty cell is not set; rows of nothing are none."""
    text = (
        "custom_id,url,model,prompt,duration,with_audio,image_url,priority,tag.set,size\r\n"
        'v,/v1/videos/generations,cogvideox-3,"a ""red"", long\r\nkite",5,TRUE,,9,spring,\r\n'
        ",,,,,,,,,\r\n\r\n"
        'w,/v1/videos/generations,viduq1-start-end,,,,"[""https://example.com/a.png"", '
        '""https://example.com/b.png""]",,,1920x1080'
    )
    checked = check(desk, text)
    assert checked.faults == ()
    first, second = checked.read_again()
    assert first.body == {
        "model": "cogvideox-3",
        "prompt": 'a "red", long\nkite',
        "duration": 5,
        "with_audio": True,
    }
    assert (first.request.priority, first.request.tags, first.request.line_number) == (9, {"set": "spring"}, 2)
    assert second.body["image_url"] == ["https://example.com/a.png", "https://example.com/b.png"]
    assert (second.request.line_number, second.request.tags) == (6, {})


def test_a_row_may_use_what_another_makes(desk: Desk) -> None:
    """Surfaces section 3: a reference alone in its cell, and one in a list, mean what they mean in a line of JSON."""
    text = (
        "custom_id,kind,model,prompt,size,image_url\n"
        "a,image,glm-image,a kite,1280x1280,\n"
        "v,video,cogvideox-3,,,{{a.outputs[0].url}}\n"
        'w,video,viduq1-start-end,,,"[""{{a.outputs[0].url}}"",""https://example.com/b.png""]"\n'
    )
    checked = check(desk, text)
    assert checked.faults == ()
    _, film, ends = checked.read_again()
    assert (film.body["image_url"], film.request.depends_on) == ("{{a.outputs[0].url}}", ("a",))
    assert ends.request.depends_on == ("a",)
    wrong = check(desk, text + "x,video,cogvideox-3,,,{{a.output.url}}\n")
    assert codes(wrong.faults) == [(5, 23, "invalid_reference", "body.image_url")]


TABLES: list[tuple[str, list[tuple[int | None, int | None, str, str | None]]]] = [
    ("", [(1, None, "empty_file", None)]),
    (HEAD, [(1, None, "empty_file", None)]),
    (HEAD + ",,,,\n", [(1, None, "empty_file", None)]),
    (HEAD.replace(",", ";") + GOOD.replace(",", ";"), [(1, None, "wrong_delimiter", None)]),
    (HEAD.replace(",", "\t") + GOOD.replace(",", "\t"), [(1, None, "wrong_delimiter", None)]),
    ("custom_id,kind,model,prompt,prompt\na,image,glm-image,x,y\n", [(1, 29, "duplicate_column", None)]),
    (
        "custom_id,kind,model,promt\na,image,glm-image,x\n",
        [(1, 22, "unknown_column", None), (2, None, "missing_prompt", "body.prompt")],
    ),
    ("custom_id,kind,model,prompt,\na,image,glm-image,x,\n", [(1, 29, "unknown_column", None)]),
    ("model,prompt\nglm-image,x\n", [(1, None, "missing_column", None), (1, None, "missing_column", None)]),
    (HEAD + "a,image,glm-image,x,1280x1280,\n" + GOOD, [(2, None, "extra_cells", None)]),
    (HEAD + "a,image,glm-image,x\n" + GOOD, [(2, None, "missing_cells", None)]),
    (HEAD + 'a,image,glm-image,5" tall,1280x1280\n' + GOOD.replace("a,", "b,", 1), [(2, 20, "invalid_csv", None)]),
    (HEAD + 'a,image,glm-image,"x" y,1280x1280\n' + GOOD.replace("a,", "b,", 1), [(2, 21, "invalid_csv", None)]),
    (HEAD + GOOD + 'b,image,glm-image,"x,1280x1280\nc,image\n', [(3, None, "unclosed_quote", None)]),
    (HEAD + 'a,image,glm-image,"two\nlines",5x5\n', [(3, 8, "invalid_size", "body.size")]),
    (HEAD + GOOD + GOOD, [(3, 1, "duplicate_custom_id", "custom_id")]),
    (HEAD + GOOD.replace("glm-image", "glm-imag"), [(2, 9, "unknown_model", "body.model")]),
]


@pytest.mark.parametrize(("text", "expected"), TABLES)
def test_what_is_wrong_with_a_table_is_said(
    desk: Desk, text: str, expected: list[tuple[int | None, int | None, str, str | None]]
) -> None:
    """H9: quotes, separators, headers and cells; one bad row does not hide the next."""
    assert codes(check(desk, text).faults) == expected


@pytest.mark.parametrize("text", ["1_0", "\uff15", "-5", "5.5", "9" * 5000, "1e400", "NaN", "true", " "])
def test_a_number_is_a_plain_number(desk: Desk, text: str) -> None:
    """H13: what is no number of the field stays text, and is refused under its path."""
    checked = check(desk, f"custom_id,kind,model,prompt,duration\na,video,cogvideox-3,x,{text}\n")
    assert [fault.param for fault in checked.faults] == ["body.duration"]


def test_bytes_that_are_no_text_are_a_fault_of_their_row(desk: Desk) -> None:
    """H5, H7: Latin-1 and NUL; the next row is read."""
    latin = (
        HEAD.encode() + b"a,image,glm-image,caf\xe9,1280x1280\n" + b"b,image,glm-image,\x00,1280x1280\n" + GOOD.encode()
    )
    assert codes(check(desk, latin).faults) == [
        (2, 22, "invalid_encoding", None),
        (3, 19, "invalid_encoding", None),
    ]


def test_a_table_of_a_spreadsheet_is_read(desk: Desk) -> None:
    """H4: a byte-order mark, CR LF, a lone CR and no last newline; U+2028 ends nothing."""
    rows = ["a,image,glm-image,x\u2028y,1280x1280", "b,image,glm-image,z,1280x1280"]
    for end in ("\r\n", "\r", "\n"):
        checked = check(desk, ("\ufeff" + HEAD.strip() + end + end.join(rows)).encode())
        assert checked.faults == ()
        assert [line.request.line_number for line in checked.read_again()] == [2, 3]


def test_large_cells_pass_and_larger_ones_are_refused(desk: Desk) -> None:
    """H3, H9: 200 KB pass (the cap is 1 MiB a row); a longer line is refused and the rest is read."""
    head = "custom_id,kind,model,prompt,user_id\n"
    long = f"a,image,cogview-4-250304,{'x' * 200_000},\n"
    endless = f"b,image,cogview-4-250304,{'x' * (1 << 20)},\n"
    checked = check(desk, head + long + endless + "c,image,cogview-4-250304,x,\n")
    assert codes(checked.faults) == [(3, None, "line_too_long", None)]
    assert checked.good_count == 2


def test_a_table_again_is_the_same_batch(desk: Desk) -> None:
    """H20: also under another name; the same bytes read as another format are another batch."""
    first = take_file(check(desk, HEAD + GOOD), desk.taker)
    again = take_file(check(desk, HEAD + GOOD), desk.taker)
    assert (again.is_resumed, again.batch.id) == (True, first.batch.id)
    other = check_file(desk.write((HEAD + GOOD).encode(), "jobs.jsonl"), KINDS, options=SANDBOX)
    assert other.identity_sha256 != check(desk, HEAD + GOOD).identity_sha256


def test_rows_are_the_jobs_that_lines_would_be(desk: Desk) -> None:
    """A row's frozen body equals that of the same line in JSONL, so that it reuses its job."""
    line = b'{"custom_id": "a", "kind": "image", "body": {"model": "glm-image", "prompt": "a red kite", "size": "1280x1280"}}'
    take_file(desk.check(line), desk.taker)
    intake = take_file(check(desk, HEAD + GOOD), desk.taker)
    assert (intake.new_count, intake.reused_count) == (0, 1)


def test_a_quoted_cell_over_many_lines_is_capped(desk: Desk) -> None:
    """H3: the cap is the row's, not only the line's: a closed cell of over 1 MiB is not taken either."""
    lines = ("x" * 1000 + "\n") * 1100
    checked = check(desk, f'{HEAD}{GOOD}b,image,cogview-4-250304,"{lines}",\n')
    assert codes(checked.faults) == [(3, None, "unclosed_quote", None)]
