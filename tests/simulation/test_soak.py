"""A process that has done much holds no more than one that has just begun."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from tests.simulation.soak import MEGABYTE, soak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_steps() -> None:
    """B14: a few hundred steps here; `python -m tests.simulation.soak` takes 100,000."""
    tracemalloc.start()
    try:
        soaked = soak(500, warm_up=250, jobs_a_file=40)
    finally:
        tracemalloc.stop()
    assert soaked.steps >= 500
    assert soaked.resident_bytes < 20 * MEGABYTE
    assert soaked.traced_bytes < 5 * MEGABYTE
