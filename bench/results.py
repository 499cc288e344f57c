"""Figures as JSON lines on stdout: one a line, so that `python -m bench` can put them into one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One figure of ours, what stands beside it in the same run, and what we aim at (a figure or a bound in words)."""

    figure: str
    unit: str
    ours: float | None = None
    beside: float | None = None
    beside_what: str = ""
    ratio: float | None = None
    aim: str = ""
    note: str = ""


def emit(figure: Figure) -> None:
    """Print the figure as one JSON line; empty columns are left out."""
    values = {name: value for name, value in asdict(figure).items() if value not in (None, "")}
    print(json.dumps({name: _short(value) for name, value in values.items()}), flush=True)


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of them do not exceed. Raises ValueError when there is none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
