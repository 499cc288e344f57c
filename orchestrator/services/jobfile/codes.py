"""What the faults of a request mean that no kind is needed to find. Each fault carries a hint of its own as well."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.advice import Entry, Source, Then

_FAULTS = (
    ("empty_file", "the file holds no job", "Write one JSON object on each line."),
    ("file_changed", "the file changed while it was taken in", "Run the command again; what was taken in is kept."),
    ("file_too_large", "the file is over 200 MB", "Split the file."),
    ("too_many_lines", "the file has over 50,000 lines", "Split the file."),
    ("wrong_delimiter", "the cells of a table are not separated by commas", "Save the file with commas (CSV)."),
    ("missing_column", "the table lacks a column that every row needs", "Name it in the first row."),
    ("unknown_column", "no kind has a field of this column's name", "Use the nearest name shown, or tag.NAME."),
    ("duplicate_column", "a column stands twice", "Keep one of them."),
    ("extra_cells", "a row has more cells than the header", "Quote cells that hold commas."),
    ("missing_cells", "a row has fewer cells than the header", "Write a comma for an empty cell too."),
    ("unclosed_quote", "a quoted cell has no end", 'Close it; a quote inside a cell is written "".'),
    ("invalid_csv", "a quote stands where none may", "Quote the whole cell and double the quotes in it."),
    ("invalid_yaml", "the file is not YAML, or more than one document", "Correct it at the place shown."),
    ("not_a_list", "the YAML file is no list", "Begin each job with a dash."),
    ("unsupported_yaml", "an anchor, an alias, a tag or a merge key", "Write the value out."),
    ("line_too_long", "a line is over 1 MiB", "Name files by path instead of base64."),
    ("invalid_encoding", "the text is not UTF-8, or holds a NUL byte", "Save the file as UTF-8."),
    ("invalid_json", "the line is not JSON", "Write one JSON object on one line."),
    ("not_an_object", "the line is JSON, but no object", "Write one JSON object on one line."),
    ("too_deep", "the line is nested too deeply", "Write it flatter."),
    ("duplicate_key", "a key stands twice in an object", "Keep one of them."),
    ("invalid_text", "a text holds NUL or half a surrogate pair", "Write the character itself."),
    ("invalid_number", "a number that JSON or the provider cannot hold", "Write an ordinary number."),
    (
        "invalid_webhook",
        "the webhook is no URL that may be called",
        "Name a public http(s) URL; an operator may list others in ORCHESTRATOR_EGRESS_ALLOW.",
    ),
    ("unknown_field", "there is no such field at the top of a line", "Use the nearest name shown, or put it in body."),
    ("missing_kind", "neither kind nor url is given", 'Add "kind".'),
    ("unknown_kind", "no kind of job has this name", "Use image, video or transcription."),
    ("unknown_url", "no kind has this url", "Use one of the urls shown, or kind instead."),
    ("kind_mismatch", "kind and url name two kinds", "Leave one of them out."),
    ("duplicate_custom_id", "the custom_id stands on an earlier line", "Give each line an id of its own."),
    ("shared_line", "two jobs begin on one line", "Begin each job on a line of its own."),
    ("faults_not_listed", "more faults than are kept", "Check the file again once the listed ones are mended."),
    ("charge_not_agreed", "it would be a new charge, and nobody agreed to it", "Say may_charge, if you mean it."),
    ("unknown_dependency", "no line of the file has the custom_id named", "Name a line of the same file."),
    ("dependency_cycle", "lines depend on each other in a circle", "Break the circle."),
    ("dependency_too_deep", "over 100 lines depend on each other in a chain", "Split the chain over several files."),
    (
        "impossible_reference",
        "the line named makes no such output, or none that belongs in this place",
        "Name an output of the right sort.",
    ),
    ("reserved_name", "a name that this program keeps for itself", "Rename the field."),
    (
        "input_missing",
        "a file that the request names does not exist",
        "Correct the path; it is relative to the job file.",
    ),
    ("input_changed", "a file changed after it was checked", "Run the command again."),
    ("input_unreadable", "a file that the request names cannot be read", "Grant this user the right to read it."),
    ("path_refused", "a path that is never read", "Name a plain file below the job file's folder."),
    (
        "path_outside",
        "a path outside the job file's folder",
        "Move the file there, or allow its folder in ORCHESTRATOR_FILE_ROOTS.",
    ),
    (
        "unsupported_format",
        "the file is of a format that the provider does not take",
        "Convert it to one of those shown.",
    ),
    ("invalid_input", "the file is empty, damaged or cut short", "Use a whole file."),
    ("input_too_large", "the file is larger than the provider takes", "Make it smaller."),
    ("invalid_base64", "the text is no base64", "Name the file by path instead."),
    ("invalid_link", "the link cannot be read", "Write a whole http(s) link."),
    (
        "link_leads_inside",
        "the link names a host, an address or a port that foreign links may not name",
        "Name the file instead, or have an operator list the host in ORCHESTRATOR_EGRESS_ALLOW.",
    ),
    ("link_refused", "a link is not taken here", "Download it, and name the file."),
    ("idempotency_key_reused", "the key was used for another request", "Use a new key."),
    ("invalid_idempotency_key", "the key is not one", "Use 1-255 printable characters."),
    ("invalid_pair", "an option is not NAME=VALUE", "Write NAME=VALUE."),
)
_WARNINGS = (
    ("dependency_refused", "a line that it depends on is refused", "Correct that line first."),
    ("similar_custom_id", "two ids differ only in case or in how a character is written", "Check that both are meant."),
    (
        "reference_unused",
        "a reference stands in a text, which is sent as it is written",
        "Put it into a field that takes a file, as the whole value (docs/dependencies.md).",
    ),
    ("invisible_characters", "the custom_id holds characters that cannot be seen", "Check that they are meant."),
)


def entries() -> Iterator[Entry]:
    """Yield a row for every fault of a job file, and the family of wrong values."""
    for code, meaning, advice in _FAULTS:
        yield Entry(code, Source.REQUEST, Then.REFUSED, meaning, advice)
    for code, meaning, advice in _WARNINGS:
        yield Entry(code, Source.REQUEST, Then.WARNED, meaning, advice)
    meaning, advice = "the value of the field is none that it takes", "Use one of the values shown."
    yield Entry("invalid_FIELD", Source.REQUEST, Then.REFUSED, meaning, advice, r"invalid_[a-z0-9_]+")
