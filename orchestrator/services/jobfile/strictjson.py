"""JSON as strict as two databases and a provider need it, with the column of everything that is wrong (H6, H7).

What Python's own reader lets pass is refused here: NaN, Infinity, numbers nobody can keep, keys given twice, lone
surrogates, NUL, and depth that would exhaust a stack. Never raises on any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_DEPTH = 64  # the provider's deepest body has 4 levels
MAX_INTEGER = (1 << 63) - 1  # what both databases keep exactly
MAX_FLOAT = float(1 << 53)  # above it a float has lost its units, and JSONB would hand it back as an integer

Path = tuple[str | int, ...]

_TOKEN = re.compile(r'[{}\[\]:,]|"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s{}\[\]:,"]+', re.DOTALL)
_BAD_SIGNS = re.compile("[\x00\ud800-\udfff]")
_NUMBER_START = frozenset("-0123456789")


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a line; `column` counts characters from 1, `path` leads to the value."""

    code: str
    message: str
    column: int
    path: Path = ()
    hint: str | None = None


@dataclass(frozen=True)
class Node:
    """A value in the text: its path, the column of its key (None in a list) and of itself, its first lexeme."""

    path: Path
    key_column: int | None
    column: int
    lexeme: str
    is_duplicate: bool = False


class _Suspicious(Exception):
    """Something the fast reader leaves to the slow one."""


def read_json(text: str) -> tuple[object, list[Problem]]:
    """Return (value, []) or (None, every problem that can be told)."""
    if text.count("[") + text.count("{") > MAX_DEPTH and (problem := _find_depth(text)):
        return None, [problem]
    try:
        value = _STRICT.decode(text)
        if "\\u" not in text or not _holds_bad_text(value):
            return value, []
    except _Suspicious:
        pass
    except (ValueError, RecursionError) as error:
        return None, [_syntax_problem(error)]
    return _explain(text)


def find_columns(text: str, paths: set[Path]) -> dict[Path, tuple[int | None, int]]:
    """Return {path: (column of its key, column of its value)} for those `paths` that a readable text has."""
    return {node.path: (node.key_column, node.column) for node in _walk(text) if node.path in paths}


def _explain(text: str) -> tuple[object, list[Problem]]:
    try:
        _LENIENT.decode(text)
    except (ValueError, RecursionError) as error:
        return None, [_syntax_problem(error)]
    problems = [problem for node in _walk(text) for problem in _problems_of(node)]
    return None, problems or [_syntax_problem(ValueError())]


def _syntax_problem(error: Exception) -> Problem:
    if isinstance(error, json.JSONDecodeError):
        message = error.msg[:1].lower() + error.msg[1:]
        return Problem("invalid_json", f"not JSON: {message}", error.pos + 1, hint="one JSON object on one line")
    return Problem("invalid_json", "not JSON: it cannot be read", 1)


def _find_depth(text: str) -> Problem | None:
    depth = 0
    for found in _TOKEN.finditer(text):
        lexeme = found.group()
        depth += (lexeme in "{[") - (lexeme in "}]") if len(lexeme) == 1 else 0
        if depth > MAX_DEPTH:
            return Problem("too_deep", f"nested deeper than {MAX_DEPTH} levels", found.start() + 1)
    return None


@dataclass
class _Frame:
    """An open object or list of the walk; `step` is the key or index of the value that comes next."""

    is_object: bool
    step: str | int
    is_key_next: bool
    key_column: int | None = None
    is_duplicate: bool = False
    seen: set[str] = field(default_factory=set)

    def take_key(self, lexeme: str, column: int) -> None:
        self.step = str(json.loads(lexeme))
        self.key_column, self.is_key_next = column, False
        self.is_duplicate = self.step in self.seen
        self.seen.add(self.step)

    def take_comma(self) -> None:
        if self.is_object:
            self.is_key_next = True
        else:
            self.step = int(self.step) + 1


def _walk(text: str) -> Iterator[Node]:
    """Yield every value of a text that json has read (constants and doubled keys included), outermost first."""
    stack: list[_Frame] = []
    for found in _TOKEN.finditer(text):
        lexeme, column = found.group(), found.start() + 1
        if lexeme in ("}", "]"):
            stack.pop()
        elif lexeme == ",":
            stack[-1].take_comma()
        elif stack and stack[-1].is_key_next:
            stack[-1].take_key(lexeme, column)
        elif lexeme != ":":
            top = stack[-1] if stack else None
            path = tuple(frame.step for frame in stack)
            yield Node(
                path, top.key_column if top else None, column, lexeme, is_duplicate=bool(top and top.is_duplicate)
            )
            if lexeme in ("{", "["):
                stack.append(_Frame(is_object=lexeme == "{", step=0, is_key_next=lexeme == "{"))


def _problems_of(node: Node) -> Iterator[Problem]:
    key = node.path[-1] if node.path else None
    if isinstance(key, str) and _BAD_SIGNS.search(key):
        yield Problem("invalid_text", "this key holds NUL or half a surrogate pair", node.key_column or 1, node.path)
    if node.is_duplicate:
        yield Problem(
            "duplicate_key", f"the key {key!r} stands twice", node.key_column or 1, node.path, "keep one of them"
        )
    if node.lexeme.startswith('"'):
        if _BAD_SIGNS.search(str(json.loads(node.lexeme))):
            yield Problem("invalid_text", "this text holds NUL or half a surrogate pair", node.column, node.path)
    elif node.lexeme[0] in _NUMBER_START or node.lexeme in ("NaN", "Infinity"):
        reason = _refuse_number(node.lexeme)
        if reason:
            yield Problem("invalid_number", f"{_shorten(node.lexeme)} {reason}", node.column, node.path)


def _refuse_number(lexeme: str) -> str | None:
    if lexeme.lstrip("-") in ("NaN", "Infinity"):
        return "is not a JSON number"
    if lexeme.startswith("-") and float(lexeme) == 0:
        return "is a negative zero; write 0"
    if lexeme.lstrip("-").isdigit():
        is_kept = len(lexeme) <= 20 and abs(int(lexeme)) <= MAX_INTEGER
        return None if is_kept else "is too large an integer"
    return None if abs(float(lexeme)) <= MAX_FLOAT else "is too large a number"


def _shorten(lexeme: str) -> str:
    return lexeme if len(lexeme) <= 24 else f"{lexeme[:20]}..."


def _holds_bad_text(value: object) -> bool:
    """Bounded by MAX_DEPTH: deeper texts were refused before."""
    if isinstance(value, str):
        return _BAD_SIGNS.search(value) is not None
    if isinstance(value, dict):
        return any(_holds_bad_text(key) or _holds_bad_text(item) for key, item in value.items())
    return isinstance(value, list) and any(_holds_bad_text(item) for item in value)


def _strict_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Suspicious
    return value


def _strict_integer(lexeme: str) -> int:
    if _refuse_number(lexeme):
        raise _Suspicious
    return int(lexeme)


def _strict_float(lexeme: str) -> float:
    if _refuse_number(lexeme):
        raise _Suspicious
    return float(lexeme)


def _strict_constant(lexeme: str) -> object:
    raise _Suspicious


_STRICT = json.JSONDecoder(
    object_pairs_hook=_strict_object,
    parse_int=_strict_integer,
    parse_float=_strict_float,
    parse_constant=_strict_constant,
)
_LENIENT = json.JSONDecoder(parse_int=len, parse_float=float, parse_constant=len)
"""Only tells whether the text is JSON at all: its numbers are never looked at."""
