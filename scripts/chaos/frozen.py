"""Freezes what a fleet rests on, and measures: `python -m scripts.chaos.frozen broker`, `... worker --rounds 20`.

broker: jobs are accepted over the HTTP API while the broker stands still (SIGSTOP); how long each takes, and what is lost.
worker: the only one that submits stands still past its leases while the provider answers it; after SIGCONT, which of the
answered tasks are linked, and whether anything is sent that was claimed before. One line of JSON each.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys

from scripts.chaos.frozen_broker import freeze_broker
from scripts.chaos.frozen_worker import freeze_worker
from scripts.chaos.shell import describe_commit, end_by_signal


def main() -> None:
    """Measure one of the two and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("broker", "worker"))
    parser.add_argument("--seconds", type=float, default=60, help="that the broker stands still")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two jobs")
    parser.add_argument("--rounds", type=int, default=10, help="how often the worker is frozen")
    end_by_signal()
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    found = freeze_broker(given.seconds, given.every) if given.what == "broker" else freeze_worker(given.rounds)
    command = f"python -m scripts.chaos.frozen {' '.join(sys.argv[1:])}"
    line = {**found, "load": os.getloadavg()[0], "commit": describe_commit(), "command": command}
    sys.stdout.write(json.dumps(line, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
