"""What the provider's codes mean, its own and those of the way to it, and what a person should do.

`then` says what follows a paid call; a question about a task that fails so is only asked again later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.domain.advice import Entry, Source, Then
from orchestrator.zai.codes import CODES, Refusal

# What is advised for a listed code of the same meaning.
_NEW_KEY, _SUPPORT = CODES["1002"].advice, CODES["1110"].advice
_WAIT, _LANDED = CODES["1308"].advice, CODES["1230"].advice

_AGAIN = "Nothing to do: nothing was sent, it is tried again; check this host's way out if it goes on."
_UPDATE = "Use a release that knows this kind of job on every host."

THEN: Mapping[Refusal, Then] = {
    Refusal.NOW: Then.PAUSED,
    Refusal.UNTIL: Then.PAUSED,
    Refusal.ACCOUNT: Then.PAUSED,
    Refusal.REJECTED: Then.FAILED,
    Refusal.UNKNOWN: Then.HELD,
}

_WAY = (
    (
        "connect_failed",
        Then.AGAIN,
        "no connection to the provider",
        "Nothing to do: nothing was sent, it is tried again; check ORCHESTRATOR_ZAI_BASE_URL if it goes on.",
    ),
    ("connect_timeout", Then.AGAIN, "the provider does not take the connection", _AGAIN),
    (
        "name_not_found",
        Then.AGAIN,
        "the provider's host name does not resolve",
        "Check ORCHESTRATOR_ZAI_BASE_URL and this host's name server; nothing was sent, it is tried again.",
    ),
    (
        "tls_failed",
        Then.AGAIN,
        "the provider's certificate is not accepted, or it speaks no TLS",
        "Check ORCHESTRATOR_ZAI_BASE_URL and ORCHESTRATOR_CA_BUNDLE; nothing was sent, it is tried again.",
    ),
    (
        "proxy_failed",
        Then.AGAIN,
        "the proxy does not let the connection through",
        "Check ORCHESTRATOR_HTTP_PROXY; nothing was sent, it is tried again.",
    ),
    ("client_error", Then.AGAIN, "the request could not be made", "Report it: a fault of ours; nothing was sent."),
    ("answer_timeout", Then.HELD, "it was sent, and no answer came in time", _LANDED),
    ("answer_lost", Then.HELD, "it was sent, and the connection broke before a whole answer came", _LANDED),
    ("answer_too_long", Then.AGAIN, "the answer about a task does not end", "Nothing to do: it is asked again."),
    (
        "input_unreadable",
        Then.AGAIN,
        "the archive could not give an input",
        "Check the archive; nothing was sent, it is tried again.",
    ),
    (
        "invalid_body",
        Then.FAILED,
        "the request cannot be written as the provider wants it",
        "Correct the body and submit the job again; nothing was sent.",
    ),
    ("unknown_kind", Then.AGAIN, "this release knows no such kind of job", _UPDATE),
)
_FAMILIES = (
    (
        "11xx",
        r"11\d\d",
        Then.PAUSED,
        "under HTTP 429: a trouble of the account that is not documented; otherwise held",
        _SUPPORT,
    ),
    ("13xx", r"13\d\d", Then.PAUSED, "under HTTP 429: a limit that is not documented; otherwise held", _WAIT),
    ("nnnn", r"\d{1,9}", Then.HELD, "a code of the provider that is not documented", _LANDED),
    ("http_401", None, Then.PAUSED, "the key is not accepted", _NEW_KEY),
    ("http_403", None, Then.PAUSED, "the key may not do this", _NEW_KEY),
    ("http_434", None, Then.PAUSED, "the API is not open to this account", _SUPPORT),
    ("http_404", None, Then.HELD, "no such address, or a task that the provider does not know", _LANDED),
    ("http_429", None, Then.HELD, "too many requests, says something on the way, and no code of the provider", _LANDED),
    ("http_xxx", r"http_(\d{3}|None)", Then.HELD, "an answer that is not what the provider is known to say", _LANDED),
)

_FIELDS = (
    ("missing_model", "no model is named", "Name one of the models listed."),
    ("unknown_model", "no model of this kind has this name", "Use the nearest name shown, or --allow-unknown-model."),
    ("missing_prompt", "there is no prompt", "Add a prompt."),
    ("missing_image_url", "the model starts from a picture and none is named", "Add image_url."),
    ("missing_file", "no recording is named", "Add file: a path to a wav or mp3 file."),
    ("prompt_too_long", "the prompt is longer than the model takes", "Shorten it by the number of characters shown."),
    ("conflicting_parameters", "two fields exclude each other", "Leave one of them out."),
    ("unsupported_parameter", "the model, or this program, does not take the field", "Leave the field out."),
    ("invalid_type", "the value is of another kind than the field takes", "Write a value of the kind shown."),
    ("invalid_frames", "the two pictures do not fit each other", "Scale one of them to the size of the other."),
    ("input_too_small", "the picture has too few pixels", "Use a larger picture."),
    ("input_too_long", "the recording is too long", "Cut it into shorter pieces."),
)
_WARNINGS = (
    ("unknown_parameter", "no document of the provider knows the field", "Check its spelling; it is sent as it is."),
    ("undocumented_parameter", "the field is not documented", "Nothing to do if you mean it; it is sent as it is."),
    ("undocumented_value", "the value is not documented", "Nothing to do if you mean it; it is sent as it is."),
    ("prompt_long", "the prompt is longer than the provider recommends", "Shorten it if the result disappoints."),
)


def entries() -> Iterator[Entry]:
    """Yield a row for every code of the provider, of the way to it, and of a request's fields."""
    for facts in CODES.values():
        yield Entry(facts.code, Source.PROVIDER, THEN[facts.refusal], facts.meaning, facts.advice)
    for code, then, meaning, advice in _WAY:
        yield Entry(code, Source.PROVIDER, then, meaning, advice)
    for code, family, then, meaning, advice in _FAMILIES:
        yield Entry(code, Source.PROVIDER, then, meaning, advice, family)
    for code, meaning, advice in _FIELDS:
        yield Entry(code, Source.REQUEST, Then.REFUSED, meaning, advice)
    for code, meaning, advice in _WARNINGS:
        yield Entry(code, Source.REQUEST, Then.WARNED, meaning, advice)
