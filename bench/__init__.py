"""Measurements, as ratios within one run: `python -m bench.NAME`. Absolute figures are to be reported, never asserted."""
