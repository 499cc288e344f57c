"""What goes wrong with a thumbnail. None of it is any trouble of the job's."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.advice import Entry, Source, Then

_ONCE_MORE = (
    "Nothing has to be done; `orchestrator archive thumbnails` makes what is missing once the host is less busy."
)

_ROWS = (
    (
        "thumbnail_refused",
        "no thumbnail can be made of these bytes; the message is the decoder's",
        "Nothing has to be done: the output itself is archived whole.",
    ),
    (
        "thumbnail_timeout",
        "decoding took too long and was ended: the file is made to hurt, or the host is busy",
        _ONCE_MORE,
    ),
    ("thumbnail_busy", "too many others were being made", _ONCE_MORE),
    (
        "thumbnail_given_up",
        "the process that archives was stopped meanwhile",
        "Nothing has to be done: whoever goes on with the job makes it.",
    ),
    ("thumbnail_not_begun", "the process that decodes could not be started", _ONCE_MORE),
)


def entries() -> Iterator[Entry]:
    """Yield a row for every code of thumbnails."""
    for code, meaning, advice in _ROWS:
        yield Entry(code, Source.ARCHIVE, Then.WITHOUT, meaning, advice)
