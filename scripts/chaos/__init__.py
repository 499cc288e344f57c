"""The harness that kills, freezes, flushes and crashes a real installation, and counts what is left: `make chaos`."""
