"""The rules that single fields of a request obey, and what to say when one does not. Pure; takes any JSON value.

A rule yields faults for one value that is not null. Which field has which rule is the kinds' business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

from orchestrator.domain.errors import Fault
from orchestrator.domain.kind import CellType

_MEANT_FLAGS = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}
_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)


class Rule(Protocol):
    """What one field must be."""

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Yield what is wrong with `value`, which is not None."""


@dataclass(frozen=True)
class Anything:
    """A field that is passed on as it is."""

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Nothing is ever wrong."""
        return iter(())


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse everything but a boolean."""
        if not isinstance(value, bool):
            yield wrong_type(param, value, "true or false", _meant_flag(value))


@dataclass(frozen=True)
class TextRule:
    """A string of a bounded number of characters (Unicode code points)."""

    at_least: int = 0
    at_most: int | None = None
    too_long_code: str | None = None

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse what is no string, and lengths outside the bounds."""
        if not isinstance(value, str):
            yield wrong_type(param, value, "a string")
        elif self.at_most is not None and len(value) > self.at_most:
            code = self.too_long_code or invalid(param)
            message = f"{param} has {len(value):,} characters; at most {self.at_most:,} are allowed"
            yield Fault(code, param, message, f"shorten it by {len(value) - self.at_most:,}")
        elif len(value) < self.at_least:
            message = f"{param} has {len(value)} characters; at least {self.at_least} are needed"
            yield Fault(invalid(param), param, message)


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse other words, naming the nearest."""
        if not isinstance(value, str):
            yield wrong_type(param, value, f"one of {listing(self.words)}")
        elif value not in self.words:
            message = f"{param} is {shown(value)}; allowed: {listing(self.words)}"
            near = nearest_word(value, self.words)
            yield Fault(invalid(param), param, message, near or self.words[0])


@dataclass(frozen=True)
class Whole:
    """One of a few whole numbers."""

    numbers: tuple[int, ...]

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse other numbers, naming the nearest; true and 5.0 are not whole numbers here."""
        allowed = listing(str(number) for number in self.numbers)
        if isinstance(value, bool) or not isinstance(value, int):
            near = str(nearest_number(meant, self.numbers)) if (meant := _meant_number(value)) is not None else None
            wanted = f"the number {allowed}" if len(self.numbers) == 1 else f"one of the numbers {allowed}"
            yield wrong_type(param, value, wanted, near)
        elif value not in self.numbers:
            message = f"{param} is {shown(value)}; allowed: {allowed}"
            yield Fault(invalid(param), param, message, str(nearest_number(value, self.numbers)))


@dataclass(frozen=True)
class WordFilter:
    """The switch of the sensitive word check (zai-api.md 1.5)."""

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse everything but its documented object."""
        if not isinstance(value, Mapping):
            yield wrong_type(param, value, 'an object like {"type": "ALL", "status": "ENABLE"}')
            return
        for name, rule in (("type", Choice(("ALL",))), ("status", Choice(("ENABLE", "DISABLE")))):
            if value.get(name) is not None:
                yield from rule.faults(f"{param}.{name}", value[name])


@dataclass(frozen=True)
class Listed:
    """A list of at most so many strings."""

    at_most: int
    noun: str

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse what is no list, too long a list, and items that are no filled strings."""
        if not isinstance(value, list | tuple):
            yield wrong_type(param, value, f"a list of {self.noun}")
            return
        if len(value) > self.at_most:
            message = f"{param} has {len(value)} {self.noun}; at most {self.at_most} are allowed"
            yield Fault(invalid(param), param, message)
        for index, item in enumerate(value[: self.at_most]):
            if not isinstance(item, str) or not item.strip():
                yield wrong_type(f"{param}.{index}", item, "a filled string")


def _meant_flag(value: object) -> str | None:
    """Return what was written as a word, or as a number of 0 or 1."""
    return _MEANT_FLAGS.get(str(value).strip().lower()) if isinstance(value, str | int) else None


def _meant_number(value: object) -> float | None:
    """Return the number that was written as a fraction or as text; true and false are none."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if isinstance(value, float) else None


def cell_type(rule: Rule) -> CellType:
    """Return how the text of a table's cell is read for a field of this rule."""
    if isinstance(rule, Flag):
        return CellType.FLAG
    if isinstance(rule, Whole):
        return CellType.NUMBER
    return CellType.TEXT if isinstance(rule, TextRule | Choice) else CellType.JSON


USER_ID = TextRule(at_least=6, at_most=128)
"""zai-api.md 1.5."""


def wrong_type(param: str, value: object, wanted: str, hint: str | None = None) -> Fault:
    """Return the fault of a value that is not of the type a field takes."""
    return Fault("invalid_type", param, f"{param} is {shown(value)}; it must be {wanted}", hint)


def invalid(param: str) -> str:
    """Return the fault code of a field with a wrong value: `size` gives invalid_size."""
    return f"invalid_{param.split('.', maxsplit=1)[0]}"


def shown(value: object) -> str:
    """Return a value as JSON, short enough for a message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "a number of over 30 digits"
    if isinstance(value, str):
        value = value[:100]
    try:
        text = json.dumps(value, ensure_ascii=True, default=lambda _: "...")
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def listing(words: Collection[str] | Iterator[str]) -> str:
    """Return words as a person lists them."""
    return ", ".join(words)


def nearest_word(value: str, words: Sequence[str], *, cutoff: float = 0.6) -> str | None:
    """Return the word most like `value`, None when none is."""
    by_folded = {word.lower(): word for word in reversed(words)}
    found = get_close_matches(value[:200].lower().strip(), list(by_folded), n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def nearest_number(value: float, numbers: Sequence[int]) -> int:
    """Return the allowed number nearest to `value`; the first for NaN."""
    return min(numbers, key=lambda number: abs(number - value))
