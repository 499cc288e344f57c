"""Figures as shapes: where each bar of an inline SVG stands. Pure; colours are the style sheet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.overview import HourCount

WIDTH, HEIGHT = 720, 150
GAP = 4
ORDER = ("succeeded", "cancelled", "failed")
"""From the bottom up."""


@dataclass(frozen=True)
class Bar:
    """A rectangle of the chart; `kind` is its class."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Column:
    """One hour: its bars, the words that tell it, and where its label stands (every sixth has one)."""

    bars: tuple[Bar, ...]
    x: float
    width: float
    words: str
    label: str


@dataclass(frozen=True)
class Chart:
    """Columns in a box of WIDTH by HEIGHT; `top` is the count at its upper edge."""

    columns: tuple[Column, ...]
    top: int
    width: int = WIDTH
    height: int = HEIGHT


def draw_hours(hours: Sequence[HourCount]) -> Chart:
    """Return the chart of what ended in each hour."""
    top = round_up(max((hour.total for hour in hours), default=0))
    step = WIDTH / max(len(hours), 1)
    return Chart(tuple(_draw(hour, index, step, top) for index, hour in enumerate(hours)), top)


def round_up(count: int) -> int:
    """Return the next number that reads well on an axis: 5, 10, 20, 50, 100 ..."""
    size = 5
    for factor in (2, 2, 2.5) * 12:
        if count <= size:
            break
        size = int(size * factor)
    return size


def share(part: int, whole: int, length: float) -> float:
    """Return how much of a length is used; never more than all of it."""
    return round(length * min(part / whole, 1.0), 1) if whole else 0.0


def _draw(hour: HourCount, index: int, step: float, top: int) -> Column:
    bars, base = [], float(HEIGHT)
    for kind in ORDER:
        height = HEIGHT * hour.by_state.get(kind, 0) / top
        if height:
            base -= height
            bars.append(Bar(kind, round(index * step + GAP / 2, 1), round(base, 1), step - GAP, round(height, 1)))
    told = ", ".join(f"{hour.by_state[kind]} {kind}" for kind in ORDER if hour.by_state.get(kind))
    words = f"{hour.hour:%H}:00 UTC: {told or 'nothing ended'}"
    label = f"{hour.hour:%H}:00" if hour.hour.hour % 6 == 0 else ""
    return Column(tuple(bars), round(index * step, 1), step, words, label)
