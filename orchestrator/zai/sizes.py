"""Sizes written "WxH": which are allowed and which allowed one is nearest (zai-api.md 2.2, 3.2)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.domain.errors import Fault
from orchestrator.zai.fields import listing, shown, wrong_type

_SIZE = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
_LOOSE = re.compile(r"\s*([0-9]{1,6})\s*[xX\u00d7*:,]\s*([0-9]{1,6})\s*")
"""What people write for a size; some provider pages print a multiplication sign (2.2)."""


@dataclass(frozen=True)
class SizeList:
    """One of a fixed list of sizes. `doubtful` ones stand only in some of the provider's pages: passed with a warning."""

    sizes: tuple[str, ...]
    doubtful: tuple[str, ...] = ()

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse other sizes, naming the nearest in shape and area."""
        if not isinstance(value, str):
            yield wrong_type(param, value, f"one of {listing(self.sizes)}")
        elif value in self.doubtful:
            message = f"{param} {value} is not in every page of the provider's documentation; it may be refused"
            yield Fault("undocumented_value", param, message, self.sizes[0], is_warning=True)
        elif value not in self.sizes:
            message = f"{param} is {shown(value)}; allowed: {listing(self.sizes)}"
            yield Fault("invalid_size", param, message, self._nearest(value))

    def _nearest(self, value: str) -> str:
        wanted = _read_loosely(value)
        if wanted is None:
            return self.sizes[0]
        return min(self.sizes, key=lambda size: _distance(wanted, read_size(size) or (1, 1)))


@dataclass(frozen=True)
class SizeGrid:
    """Any size whose sides and area obey limits, and the recommended ones, which are always good."""

    recommended: tuple[str, ...]
    shortest: int
    longest: int
    multiple: int
    most_pixels: int

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse what is outside the limits, naming the nearest size inside."""
        if not isinstance(value, str):
            yield wrong_type(param, value, f'a size like "{self.recommended[0]}"')
            return
        size = read_size(value)
        if value in self.recommended or (size is not None and self._is_inside(*size)):
            return
        message = (
            f"{param} is {shown(value)}; each side must be {self.shortest} to {self.longest} and a multiple of "
            f"{self.multiple}, with at most {self.most_pixels:,} pixels, written WxH"
        )
        yield Fault("invalid_size", param, message, self._nearest(value))

    def _is_inside(self, width: int, height: int) -> bool:
        sides_fit = all(self.shortest <= side <= self.longest and side % self.multiple == 0 for side in (width, height))
        return sides_fit and width * height <= self.most_pixels

    def _nearest(self, value: str) -> str:
        wanted = _read_loosely(value)
        if wanted is None or 0 in wanted:
            return self.recommended[0]
        width, height = (self._rounded(side) for side in wanted)
        while width * height > self.most_pixels:
            if width >= height:
                width -= self.multiple
            else:
                height -= self.multiple
        return f"{width}x{height}"

    def _rounded(self, side: int) -> int:
        clamped = min(max(side, self.shortest), self.longest)
        rounded = (clamped + self.multiple // 2) // self.multiple * self.multiple
        return min(max(rounded, self.shortest), self.longest)


@dataclass(frozen=True)
class SizeText:
    """Any size: for a model whose limits are not known."""

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse only what does not read as a size."""
        if not isinstance(value, str) or read_size(value) is None:
            yield Fault("invalid_size", param, f'{param} is {shown(value)}; it must be written like "1280x720"')


def read_size(text: str) -> tuple[int, int] | None:
    """Return (width, height) of the wire form, None for anything else."""
    found = _SIZE.fullmatch(text) if text.isascii() else None
    return (int(found.group(1)), int(found.group(2))) if found else None


def _read_loosely(text: str) -> tuple[int, int] | None:
    found = _LOOSE.fullmatch(text) if len(text) < 40 else None
    return (int(found.group(1)), int(found.group(2))) if found else None


def _distance(wanted: tuple[int, int], size: tuple[int, int]) -> float:
    """Shape counts before area: a portrait asked for stays a portrait."""
    if 0 in wanted:
        return math.inf
    shape = abs(math.log((wanted[0] / wanted[1]) / (size[0] / size[1])))
    area = abs(math.log((wanted[0] * wanted[1]) / (size[0] * size[1])))
    return 2 * shape + area
